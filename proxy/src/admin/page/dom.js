// Elements, made without any text being read as markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes and children; a text becomes a text. */
export function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same in a drawing. */
export function draw(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "on") for (const [event, handler] of Object.entries(value)) element.addEventListener(event, handler);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function by(id) {
  return document.getElementById(id);
}

/** Writes a text where it is another one, so that nothing is announced or laid out for nothing. */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Sets an attribute where it is another one. */
export function set(element, name, value) {
  if (value === null || value === undefined) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
  } else if (element.getAttribute(name) !== String(value)) {
    element.setAttribute(name, String(value));
  }
}

/**
 * Brings an element's children in line with wanted ones without replacing what is the same: what has
 * the focus, is selected or is open stays so.
 */
export function morph(element, wanted) {
  const old = [...element.childNodes];
  wanted.forEach((child, index) => {
    const there = old[index];
    if (!there) element.append(child);
    else if (there.isEqualNode(child)) return;
    else if (same(there, child)) align(there, child);
    else there.replaceWith(child);
  });
  for (const extra of old.slice(wanted.length)) extra.remove();
}

function same(a, b) {
  return (
    a.nodeType === b.nodeType &&
    a.nodeName === b.nodeName &&
    (a.nodeType !== Node.ELEMENT_NODE || a.getAttribute("data-key") === b.getAttribute("data-key"))
  );
}

function align(there, child) {
  if (there.nodeType !== Node.ELEMENT_NODE) {
    there.nodeValue = child.nodeValue;
    return;
  }
  for (const { name } of [...there.attributes]) if (!child.hasAttribute(name) && name !== "open") there.removeAttribute(name);
  for (const { name, value } of child.attributes) set(there, name, value);
  morph(there, [...child.childNodes]);
}
