// How the two texts are read: raw, with differences, scrolling together, as wide as one likes, the prompt at hand. What
// was chosen stays, on the next pair and in this browser.

const STORE = "tiebreak:reading";
const WORD = /\p{Ideographic}|\p{sc=Hiragana}|\p{sc=Katakana}|[\p{L}\p{M}\p{N}_]+|[^\s\p{L}\p{M}\p{N}_]/gu;
const FREQUENT = 100; // a word that stands more often waits for a shorter passage
const ROUNDS = 12;

const on = document.addEventListener.bind(document);
const one = document.querySelector.bind(document);
const all = (selector) => [...document.querySelectorAll(selector)];
const texts = () => all(".pane > :not([hidden], .pane-head)");
const chosen = JSON.parse(localStorage.getItem(STORE)) ?? {};
let panes = null;

on("htmx:load", begin);
begin();

function begin() {
  if (one(".panes") === panes) return;
  panes = one(".panes");
  CSS.highlights?.clear();
  if (!panes) return;
  chosen.raw ??= one("[data-raw]").ariaPressed === "true";
  arrange();
  if (chosen.diff) requestAnimationFrame(() => setTimeout(compare)); // the pair itself comes first
}

function choose(change) {
  Object.assign(chosen, change);
  arrange();
  localStorage.setItem(STORE, JSON.stringify(chosen));
}

function arrange() {
  for (const name of ["raw", "diff", "sync"]) one(`[data-${name}]`).ariaPressed = Boolean(chosen[name]);
  for (const text of all(".text-raw")) text.hidden = !chosen.raw;
  for (const text of all(".text-rendered")) text.hidden = chosen.raw;
  for (const text of texts()) text.tabIndex = chosen.sync || chosen.raw ? 0 : -1;
  panes.classList.toggle("scrolls-together", Boolean(chosen.sync));
  const split = (chosen.split = Math.min(80, Math.max(20, Math.round(chosen.split ?? 50))));
  panes.style.setProperty("--first", `${split}fr`);
  panes.style.setProperty("--second", `${100 - split}fr`);
  one("[data-split]").ariaValueNow = split;
}

const say = (sentence) => (one("#announcer").textContent = sentence);

on("click", (event) => {
  const tool = event.target.closest("[data-raw], [data-diff], [data-sync]");
  if (event.target.closest("[data-peek]")) peek(one("[data-peek]").ariaExpanded !== "true");
  if (!tool) return;
  event.preventDefault();
  const [name] = Object.keys(tool.dataset);
  if (name === "diff" && !CSS.highlights) return say(tool.dataset.cannot);
  choose({ [name]: !chosen[name] });
  if (name !== "sync") compare();
});

// --- Differences: marked where they stand, nothing of a text is written anew ---

function compare() {
  if (!panes?.isConnected || !CSS.highlights) return;
  CSS.highlights.clear();
  const places = all("[data-only]");
  for (const place of places) place.textContent = "";
  if (!chosen.diff) return;
  const sides = texts().map(words);
  const numbers = new Map();
  const number = ({ word }) => numbers.get(word) ?? numbers.set(word, numbers.size + 1).size;
  const same = common(...sides.map((side) => side.map(number)));
  const marks = new Highlight();
  const counts = sides.map((side, which) => mark(side, same[which], marks));
  CSS.highlights.set("only-here", marks);
  places.forEach((place, which) => (place.textContent = place.dataset.only.replace("#", counts[which])));
  say(one("[data-diff]").dataset.says.replace("#", counts[0]).replace("#", counts[1]));
}

function words(text) {
  const found = [];
  const nodes = document.createTreeWalker(text, NodeFilter.SHOW_TEXT);
  while (nodes.nextNode()) {
    const node = nodes.currentNode;
    for (const { 0: word, index } of node.data.matchAll(WORD)) found.push({ node, word, index });
  }
  return found;
}

// Punctuation is marked, but not counted.
function mark(side, same, marks) {
  let count = 0;
  for (let at = 0; at < side.length; at++) {
    if (same[at]) continue;
    const { node, index } = side[at];
    do count += /[\p{L}\p{N}]/u.test(side[at++].word);
    while (side[at]?.node === node && !same[at]);
    const last = side[--at];
    const endOffset = last.index + last.word.length;
    marks.add(new StaticRange({ startContainer: node, startOffset: index, endContainer: node, endOffset }));
  }
  return count;
}

// Say of each word of two lists whether both have it: the longest chain of rarer words, then the same in its gaps, where
// other words are rare. Bounded work for any text, and close to the shortest difference.
function common(a, b) {
  const same = [new Uint8Array(a.length), new Uint8Array(b.length)];
  const gaps = [[0, a.length, 0, b.length, 0]];
  while (gaps.length) {
    let [i, iEnd, j, jEnd, round] = gaps.pop();
    while (i < iEnd && j < jEnd && a[i] === b[j]) same[0][i++] = same[1][j++] = 1;
    while (i < iEnd && j < jEnd && a[iEnd - 1] === b[jEnd - 1]) same[0][--iEnd] = same[1][--jEnd] = 1;
    if (i === iEnd || j === jEnd || round === ROUNDS) continue;
    // Each gap begins with its link and takes in the neighbours.
    for (let link = longestChain(a, b, i, iEnd, j, jEnd); link; link = link.before) {
      gaps.push([link.i, iEnd, link.j, jEnd, round + 1]);
      [iEnd, jEnd] = [link.i, link.j];
      if (!link.before) gaps.push([i, iEnd, j, jEnd, round + 1]);
    }
  }
  return same;
}

// Hunt and Szymanski's longest common subsequence.
function longestChain(a, b, i, iEnd, j, jEnd) {
  const places = new Map(); // of each word in b, the last one first
  for (let at = jEnd; at-- > j; ) places.set(b[at], places.get(b[at]) ?? []).get(b[at]).push(at);
  const ends = []; // of the chain of each length, the one that ends first in b
  for (; i < iEnd; i++) {
    const found = places.get(a[i]) ?? [];
    for (const place of found.length > FREQUENT ? [] : found) {
      let low = 0;
      for (let high = ends.length; low < high; ) {
        const middle = (low + high) >> 1;
        if (ends[middle].j < place) low = middle + 1;
        else high = middle;
      }
      if (ends[low]?.j !== place) ends[low] = { i, j: place, before: ends[low - 1] };
    }
  }
  return ends.at(-1);
}

// --- Scrolling together; the prompt in the bar ---

const bottom = (place) => one(place).getBoundingClientRect().bottom;
const inSight = () => bottom(".prompt") > bottom(".task-head") + 20;
let led = null; // the text that the other one scrolled, and not the person

on("scroll", scrolled, true);

function scrolled({ target }) {
  if (!panes?.isConnected) return;
  if (target === document && inSight()) peek(false);
  if (!chosen.sync || target.parentElement?.className !== "pane") return;
  const other = texts().find((text) => text !== target);
  if (led === target) return (led = null);
  const before = other.scrollTop;
  other.scrollTop = (target.scrollTop / (target.scrollHeight - target.clientHeight)) * (other.scrollHeight - other.clientHeight) || 0;
  if (other.scrollTop !== before) led = other;
}

function peek(open) {
  const [prompt, body, tool] = [".prompt", ".prompt-body", "[data-peek]"].map((each) => one(each));
  if (open && inSight()) return scrollTo(0, 0);
  if (open === (tool.ariaExpanded === "true")) return;
  prompt.style.setProperty("--held", open ? `${prompt.offsetHeight}px` : 0);
  (open ? one(".task-head") : prompt).append(body);
  tool.ariaExpanded = open;
}

on("keydown", ({ key }) => key === "Escape" && panes?.isConnected && peek(false));

// --- The line between the two ---

const onSplit = (kind, act) => on(kind, (event) => event.target.matches?.("[data-split]") && act(event));
onSplit("dblclick", () => choose({ split: 50 }));
onSplit("pointerdown", ({ target, pointerId }) => target.setPointerCapture(pointerId));
onSplit("pointermove", ({ target, pointerId, clientX }) => {
  const { left, width } = panes.getBoundingClientRect();
  if (target.hasPointerCapture(pointerId)) choose({ split: (100 * (clientX - left)) / width });
});
onSplit("keydown", (event) => {
  const split = { ArrowLeft: chosen.split - 5, ArrowRight: chosen.split + 5, Enter: 50 }[event.key];
  if (split === undefined) return;
  event.preventDefault();
  choose({ split });
});
