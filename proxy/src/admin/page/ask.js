// The dialog in which a change is confirmed, made, and its outcome told.

import { keepToken, order } from "./api.js";
import { by, set, write } from "./dom.js";

const VERBS = {
  swap: {
    title: (name) => `Swap ${name}?`,
    text: "It is loaded anew from where it comes from, tried, and put in force. What runs goes on with the generation that it began with; if it does not load, nothing changes.",
    yes: "Swap",
  },
  promote: {
    title: (name) => `Promote the canary of ${name}?`,
    text: "From now on all new requests begin with it.",
    yes: "Promote",
  },
  rollback: {
    title: (name) => `Roll ${name} back?`,
    text: "A canary is taken back; without one, the generation before the one in force returns. What loses its place does not get it again by itself.",
    yes: "Roll back",
  },
  drain: {
    title: (name) => `Drain worker ${name}?`,
    text: "It is given nothing new; what runs there goes on. Models that only this worker has are no longer served until it is resumed.",
    yes: "Drain",
  },
  resume: {
    title: (name) => `Resume worker ${name}?`,
    text: "It is given work again.",
    yes: "Resume",
  },
};

let asked = null;

/** Sets the dialog up; `told` is called after a change that went well. */
export function prepare(told) {
  document.addEventListener("click", (event) => {
    const button = event.target instanceof Element && event.target.closest("button[data-act]");
    if (button) open(button.dataset);
  });
  by("ask-no").addEventListener("click", () => by("ask").close());
  by("ask-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (by("ask-yes").dataset.done) by("ask").close();
    else carry(told);
  });
}

function open({ act, kind, name }) {
  const verb = VERBS[act];
  asked = { act, kind, name };
  write(by("ask-title"), verb.title(name));
  write(by("ask-text"), verb.text);
  write(by("ask-yes"), verb.yes);
  write(by("ask-no"), "Cancel");
  say("", "");
  by("ask-share").hidden = !(act === "swap" && kind === "plugins");
  by("share").value = "";
  by("ask-token").hidden = true;
  by("ask-token-value").value = "";
  by("ask-yes").disabled = false;
  delete by("ask-yes").dataset.done;
  by("ask-no").hidden = false;
  by("ask").showModal();
}

async function carry(told) {
  const { act, kind, name } = asked;
  const body = {};
  if (!by("ask-share").hidden && by("share").value !== "") body.canary = Number(by("share").value);
  const token = by("ask-token-value").value.trim();
  if (token) keepToken(token);
  by("ask-yes").disabled = true;
  say("", "Under way…");
  try {
    const done = await order(`/${kind}/${encodeURIComponent(name)}/${act}`, body);
    say("good", outcome(done.happened ?? []));
    by("ask-yes").dataset.done = "yes";
    write(by("ask-yes"), "Close");
    by("ask-no").hidden = true;
    by("ask-token").hidden = true;
    told();
  } catch (error) {
    say("bad", `${error.message}${error.what ? ` — ${error.what}` : ""}`);
    // Who looks from this machine is asked for a token only now.
    if (error.status === 401) {
      keepToken(null);
      by("ask-token").hidden = false;
      by("ask-token-value").focus();
    }
  } finally {
    by("ask-yes").disabled = false;
  }
}

function outcome(happened) {
  if (happened.length === 0) return "Done; nothing had to change.";
  const words = happened.map((it) => [it.what, it.from === undefined ? "" : `from generation ${it.from}`, it.to === undefined ? "" : `to ${it.to}`].filter(Boolean).join(" "));
  return `Done: ${words.join("; ")}.`;
}

function say(is, text) {
  set(by("ask-outcome"), "data-is", is || null);
  write(by("ask-outcome"), text);
}
