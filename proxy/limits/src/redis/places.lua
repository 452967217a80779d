-- Places of one tenant, given to proxies for a time. KEYS: a hash, "places:until" by proxy.
-- ARGV: microseconds of unix time (0: this server's clock), the proxy, places wanted, places of all,
-- life (microseconds). Gives: places of this proxy from now on.
local now = tonumber(ARGV[1])
if now == 0 then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000000 + tonumber(time[2])
end
local me, wanted, most, life = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local others = 0
local kept = redis.call('HGETALL', KEYS[1])
for at = 1, #kept, 2 do
  if kept[at] ~= me then
    local places, till = string.match(kept[at + 1], '^(%d+):(%d+)$')
    -- What is promised for longer than anybody asks was promised before a clock went back.
    if places and tonumber(till) > now and tonumber(till) <= now + life * 10 then
      others = others + tonumber(places)
    else
      redis.call('HDEL', KEYS[1], kept[at])
    end
  end
end
local given = math.max(math.min(wanted, most - others), 0)
if given > 0 then
  redis.call('HSET', KEYS[1], me, string.format('%.0f:%.0f', given, now + life))
  redis.call('PEXPIRE', KEYS[1], math.ceil(life / 1000) + 60000)
else
  redis.call('HDEL', KEYS[1], me)
end
return given
