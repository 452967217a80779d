// Asks the proxy that this page comes from, and nobody else.

const KEY = "tollgate-operator";

/** The proxy did not do what was asked; the message says why, `what` what to do. */
export class Refused extends Error {
  constructor(status, said) {
    super(said?.error ?? `the proxy answered ${status}`);
    this.status = status;
    this.what = said?.do ?? "";
  }
}

export function hasToken() {
  return sessionStorage.getItem(KEY) !== null;
}

export function keepToken(token) {
  if (token) sessionStorage.setItem(KEY, token);
  else sessionStorage.removeItem(KEY);
}

/** The answer, as JSON. */
export function look(path, signal) {
  return ask("GET", path, undefined, signal);
}

/** Has something changed. */
export function order(path, body) {
  return ask("POST", path, body, AbortSignal.timeout(120_000));
}

async function ask(method, path, body, signal) {
  // A page of another site cannot set this header: what comes with it was asked for here.
  const headers = { "x-tollgate-operator": "dashboard" };
  const token = sessionStorage.getItem(KEY);
  if (token) headers.authorization = `Bearer ${token}`;
  if (body !== undefined) headers["content-type"] = "application/json";
  const answer = await fetch(path, {
    method,
    headers,
    body: body === undefined ? undefined : JSON.stringify(body),
    signal,
    cache: "no-store",
    credentials: "omit",
    redirect: "error",
  });
  const said = await answer.json().catch(() => null);
  if (!answer.ok) throw new Refused(answer.status, said);
  return said;
}
