// The samples that the proxy keeps, as far as they have been fetched: one a second.

/** Columns of numbers; a percentile is a column named like `took.p99`. */
export class History {
  constructor() {
    this.next = 0;
    this.at = [];
    this.columns = new Map();
    this.room = 600;
    this.every = 1000;
  }

  /** Takes what is new. One that begins elsewhere than expected replaces everything. */
  take(told) {
    this.room = told.room;
    this.every = told["interval-ms"];
    if (told.first !== this.next) {
      this.at = [];
      this.columns.clear();
    }
    this.next = told.next;
    const before = this.at.length;
    this.at.push(...told.at);
    const fresh = flat(told.columns);
    for (const [name, values] of fresh) {
      if (!this.columns.has(name)) this.columns.set(name, new Array(before).fill(null));
      this.columns.get(name).push(...values);
    }
    const surplus = Math.max(0, this.at.length - this.room);
    this.at.splice(0, surplus);
    for (const [name, values] of this.columns) {
      while (values.length < this.at.length + surplus) values.push(null);
      values.splice(0, surplus);
      // A plugin that is gone leaves when its last figure does.
      if (name.startsWith("guests.") && values.every((value) => value === null)) this.columns.delete(name);
    }
  }

  /** Indices of the last so many seconds. */
  span(seconds) {
    const end = this.at.length;
    if (end === 0) return [0, 0];
    const oldest = this.at[end - 1] - seconds * 1000;
    let begin = Math.max(0, end - Math.ceil((seconds * 1000) / this.every) - 1);
    while (begin < end && this.at[begin] < oldest) begin += 1;
    return [begin, end];
  }

  column(name) {
    return this.columns.get(name) ?? [];
  }

  names(prefix) {
    return [...this.columns.keys()].filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length));
  }

  /** The sum of a column over the last so many samples. */
  sum(name, samples) {
    return this.column(name).slice(-samples).reduce((sum, value) => sum + (value ?? 0), 0);
  }

  last(name) {
    return this.column(name).at(-1) ?? null;
  }
}

function flat(columns) {
  const found = [];
  for (const [name, values] of Object.entries(columns)) {
    if (Array.isArray(values)) found.push([name, values]);
    else for (const [inner, list] of Object.entries(values)) found.push([`${name}.${inner}`, list]);
  }
  return found;
}
