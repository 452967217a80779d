// How figures are written: short, with units, the same everywhere.

const many = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

/** What stands where nothing is known. */
export const NOTHING = "–";

/** A count or a rate: 0.4, 12.3, 845, 12.4k, 3.1M. */
export function count(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return NOTHING;
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size < 10) return trim(value.toFixed(size < 1 ? 2 : 1));
  if (size < 10_000) return many.format(value);
  if (size < 1e6) return `${trim((value / 1e3).toFixed(size < 1e5 ? 1 : 0))}k`;
  if (size < 1e9) return `${trim((value / 1e6).toFixed(size < 1e8 ? 1 : 0))}M`;
  return `${trim((value / 1e9).toFixed(1))}G`;
}

/** A whole number, in full. */
export function whole(value) {
  return value === null || value === undefined ? NOTHING : many.format(value);
}

/** A length of time, given in milliseconds. */
export function millis(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return NOTHING;
  if (value === 0) return "0\u202fms";
  if (value < 1) return `${trim(value.toFixed(2))}\u202fms`;
  if (value < 10) return `${trim(value.toFixed(1))}\u202fms`;
  if (value < 1000) return `${Math.round(value)}\u202fms`;
  if (value < 60_000) return `${trim((value / 1000).toFixed(value < 10_000 ? 2 : 1))}\u202fs`;
  return long(value);
}

/** A long time, given in milliseconds: 3 min, 2 h 5 min, 4 d 3 h. */
export function long(value) {
  const seconds = Math.max(0, Math.round(value / 1000));
  if (seconds < 60) return `${seconds}\u202fs`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes}\u202fmin`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return `${hours}\u202fh ${minutes % 60}\u202fmin`;
  return `${Math.floor(hours / 24)}\u202fd ${hours % 24}\u202fh`;
}

/** Bytes. */
export function bytes(value) {
  if (value === null || value === undefined) return NOTHING;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${trim(value.toFixed(value < 10 && unit > 0 ? 1 : 0))}\u202f${units[unit]}`;
}

/** A share, given as a fraction. */
export function share(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return NOTHING;
  const percent = value * 100;
  if (percent === 0) return "0\u202f%";
  return `${trim(percent.toFixed(percent < 10 ? 1 : 0))}\u202f%`;
}

/** The time of the day, from milliseconds since 1970. */
export function time(at) {
  return clock.format(new Date(at));
}

function trim(text) {
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}
