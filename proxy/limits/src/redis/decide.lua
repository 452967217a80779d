-- One decision over the meters of a tenant's accounts; see levels.rs, which does the same.
-- KEYS: an account each, a hash of meters: "used:stamp".
-- ARGV: microseconds of unix time (0: this server's clock), "request" or "settle", then for each part:
-- account (from 1), meter, kind (rate, day, month), what it holds, amount, per (microseconds),
-- need, extra, window of what is given back.
-- Gives: granted (1, 0), part that refuses (from 0, -1), wait (microseconds; -1: for ever), and for
-- each part: extra given, room, window, microseconds until it is reset.
local now = tonumber(ARGV[1])
if now == 0 then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000000 + tonumber(time[2])
end
local strict = ARGV[2] == 'request'
local floor, ceil, max, min = math.floor, math.ceil, math.max, math.min
-- The longest time that is told, in microseconds: some thirty years.
local longest = 1e15

local function month_of(day)
  local shifted = day + 719468
  local era = floor(shifted / 146097)
  local of_era = shifted % 146097
  local yoe = floor((of_era - floor(of_era / 1460) + floor(of_era / 36524) - floor(of_era / 146096)) / 365)
  local of_year = of_era - (365 * yoe + floor(yoe / 4) - floor(yoe / 100))
  local from_march = floor((5 * of_year + 2) / 153)
  local month, next_year
  if from_march < 10 then month, next_year = from_march + 2, 0 else month, next_year = from_march - 10, 1 end
  return (yoe + era * 400 + next_year - 1970) * 12 + month
end

local function first_day(month)
  local year, of_year = 1970 + floor(month / 12), month % 12
  local from_march
  if of_year < 2 then year = year - 1; from_march = of_year + 10 else from_march = of_year - 2 end
  local era, yoe = floor(year / 400), year % 400
  local of_era = yoe * 365 + floor(yoe / 4) - floor(yoe / 100) + floor((153 * from_march + 2) / 5)
  return era * 146097 + of_era - 719468
end

local today = floor(floor(now / 1000000) / 86400)
local parts, denied, wait = {}, -1, 0
for at = 0, (#ARGV - 2) / 9 - 1 do
  local base = 3 + at * 9
  local part = {
    key = KEYS[tonumber(ARGV[base])], field = ARGV[base + 1], kind = ARGV[base + 2],
    holds = tonumber(ARGV[base + 3]), amount = tonumber(ARGV[base + 4]), per = tonumber(ARGV[base + 5]),
    need = tonumber(ARGV[base + 6]), extra = tonumber(ARGV[base + 7]),
  }
  local used, stamp = 0, 0
  local kept = redis.call('HGET', part.key, part.field)
  if kept then
    local a, b = string.match(kept, '^([^:]+):([^:]+)$')
    used, stamp = tonumber(a) or 0, tonumber(b) or 0
  end
  if part.kind == 'rate' then
    if now > stamp then used = max(used - (now - stamp) * part.amount / part.per, 0) end
    stamp = now
  else
    local window = today
    if part.kind == 'month' then window = month_of(today) end
    if window > stamp then used, stamp = 0, window end
    local ends = (stamp + 1) * 86400
    if part.kind == 'month' then ends = first_day(stamp + 1) * 86400 end
    part.left = max(ends * 1000000 - now, 0)
    if part.need < 0 and tonumber(ARGV[base + 8]) ~= stamp then part.need = 0 end
  end
  part.used, part.stamp = used, stamp
  if strict and part.need > 0 and used + part.need > part.holds then
    local longer
    if part.need > part.holds then
      longer = -1
    elseif part.kind == 'rate' then
      longer = min(ceil((used + part.need - part.holds) * part.per / part.amount), longest)
    else
      longer = part.left
    end
    if denied < 0 or (wait >= 0 and (longer < 0 or longer > wait)) then denied, wait = at, longer end
  end
  parts[at + 1] = part
end

local reply = { denied < 0 and 1 or 0, denied, wait }
local lives = {}
for _, part in ipairs(parts) do
  local extra = 0
  if denied < 0 then
    part.used = max(part.used + part.need, 0)
    extra = min(part.extra, floor(max(part.holds - part.used, 0) / 2))
    part.used = part.used + extra
  end
  -- Also where it was denied: a clock that went back goes on from here.
  if part.used > 0 or part.kind ~= 'rate' then
    redis.call('HSET', part.key, part.field, string.format('%.17g:%.0f', part.used, part.stamp))
  else
    redis.call('HDEL', part.key, part.field)
  end
  local reset = part.left
  if part.kind == 'rate' then reset = min(ceil(part.used * part.per / part.amount), longest) end
  lives[part.key] = max(lives[part.key] or 0, reset)
  reply[#reply + 1] = extra
  reply[#reply + 1] = floor(max(part.holds - part.used, 0))
  reply[#reply + 1] = part.kind == 'rate' and 0 or part.stamp
  reply[#reply + 1] = reset
end
-- Kept for as long as it says something, and a minute more.
for key, life in pairs(lives) do redis.call('PEXPIRE', key, ceil(life / 1000) + 60000) end
return reply
