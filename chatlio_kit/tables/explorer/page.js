"use strict";
(() => {
  const STEP = 100;
  const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;
  const { entries, statuses } = JSON.parse(document.getElementById("data").textContent);
  const at = id => document.getElementById(id);
  const query = at("query"), status = at("status"), type = at("type"), from = at("from"), to = at("to");
  const list = at("list"), reader = at("reader");
  let found = [], words = [], shown = 0, opened = null;

  const fold = text => text.toLowerCase().replaceAll("i\u0307", "i").replaceAll("\u03c2", "\u03c3");

  // Invisible and bidirectional control characters are shown as escapes.
  const visible = text =>
    String(text).replace(HIDDEN, one => "\\u" + one.charCodeAt(0).toString(16).padStart(4, "0"));

  const time = moment => new Date(moment).toISOString().slice(0, 19).replace("T", " ");

  // Makes an element; strings become text nodes and are never parsed.
  const make = (name, attributes, ...children) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };

  // Makes the nodes of untrusted text, with the searched words marked.
  const marked = text => {
    const plain = visible(text), folded = fold(plain);
    if (folded.length !== plain.length) return [plain];
    const nodes = [];
    let end = 0;
    while (end < plain.length) {
      let start = -1, size = 0;
      for (const word of words) {
        const place = folded.indexOf(word, end);
        if (place >= 0 && (start < 0 || place < start || (place === start && word.length > size))) {
          start = place;
          size = word.length;
        }
      }
      if (start < 0) break;
      if (start > end) nodes.push(plain.slice(end, start));
      nodes.push(make("mark", {}, plain.slice(start, start + size)));
      end = start + size;
    }
    if (end < plain.length) nodes.push(plain.slice(end));
    return nodes;
  };

  const badge = (name, prefix = "") =>
    make("span", { class: "badge " + name }, prefix + (statuses[name] || name));

  for (const entry of entries) {
    const texts = [entry.id, ...(entry.facts || []).map(fact => fact[1]), entry.raw || ""];
    for (const [, , name, text] of entry.messages || []) texts.push(name || "", text || "");
    for (const [id, , , file, , text] of entry.events || []) texts.push(id, file || "", text || "");
    entry.words = fold(texts.join("\n"));
  }

  const choices = (select, all, values) => {
    select.append(make("option", { value: "" }, all));
    for (const [value, name] of values) select.append(make("option", { value }, name));
  };
  const count = name => {
    const counts = new Map();
    for (const entry of entries) counts.set(entry[name], (counts.get(entry[name]) || 0) + 1);
    return counts;
  };
  const byStatus = count("status"), byType = count("type");
  choices(status, "anything", Object.entries(statuses).filter(([name]) => byStatus.has(name))
    .map(([name, words]) => [name, `${words} (${byStatus.get(name).toLocaleString("en")})`]));
  choices(type, "any", [...byType].map(([name, number]) => [name, `${name} (${number.toLocaleString("en")})`]));

  const search = () => {
    words = fold(query.value).split(/\s+/).filter(Boolean);
    const first = from.value ? Date.parse(from.value) : null;
    const last = to.value ? Date.parse(to.value) + 86400000 : null;
    found = entries.filter(entry =>
      words.every(word => entry.words.includes(word)) &&
      (!status.value || entry.status === status.value) &&
      (!type.value || entry.type === type.value) &&
      (first === null || entry.at >= first) &&
      (last === null || entry.at < last));
    const messages = found.reduce((sum, entry) => sum + (entry.messages || []).length, 0);
    at("count").textContent =
      `${found.length.toLocaleString("en")} of ${entries.length.toLocaleString("en")} found` +
      (messages ? `, with ${messages.toLocaleString("en")} messages` : "");
    list.replaceChildren();
    shown = 0;
    showMore();
    open(found.slice(0, shown).includes(opened) ? opened : found[0] || null);
  };

  const snippet = entry => {
    const texts = (entry.messages || []).map(message => message[3] || "");
    for (const event of entry.events || []) if (event[5]) texts.push(event[5]);
    if (entry.raw) texts.push(entry.raw);
    const text = words.length && texts.find(one => words.some(word => fold(one).includes(word))) || texts[0] || "";
    const start = words.length ? Math.max(0, fold(text).indexOf(words[0]) - 40) : 0;
    return (start ? "…" : "") + text.slice(start, start + 140);
  };

  const item = entry => {
    const title = entry.name || (entry.raw !== undefined || entry.status === "rejected" ? entry.id : "Unknown visitor");
    const button = make("button", { type: "button", tabindex: "-1" },
      make("b", { dir: "auto" }, ...marked(title)), " ",
      make("span", { class: "quiet" }, entry.at === undefined ? "" : time(entry.at)), " ",
      make("span", { class: "badges" }, badge(entry.status), " ",
        ...(entry.type === "conversation" ? [] : [make("span", { class: "badge" }, entry.type), " "]),
        ...(entry.flags || []).map(flag => make("span", { class: "badge" }, flag))), " ",
      make("span", { class: "snippet", dir: "auto" }, ...marked(snippet(entry))));
    button.addEventListener("click", () => { open(entry); at("heading").focus(); });
    button.entry = entry;
    return make("li", {}, button);
  };

  const showMore = () => {
    list.append(...found.slice(shown, shown + STEP).map(item));
    shown = Math.min(found.length, shown + STEP);
    const left = found.length - shown;
    at("more").hidden = left === 0;
    at("more").textContent = `Show ${Math.min(STEP, left)} more of ${left.toLocaleString("en")}`;
  };

  const facts = entry => {
    const rows = [["type", entry.type], ...(entry.facts || [])];
    if (entry.end !== undefined) rows.push(["ended", time(entry.end)]);
    rows.push(...(entry.unknown || []).map(flag => [flag, "unknown: Slack does not record it"]));
    return make("dl", {}, ...rows.flatMap(([name, value]) =>
      [make("dt", {}, name), make("dd", { dir: "auto" }, ...marked(value))]));
  };

  const events = entry => make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Outcome" },
    make("table", {},
      make("thead", {}, make("tr", {}, ...["event", "time", "read from", "outcome"]
        .map(name => make("th", { scope: "col" }, name)))),
      make("tbody", {}, ...entry.events.map(([id, kind, moment, file, record, text, fate, detail]) => make("tr", {},
        make("td", {}, kind.replaceAll("_", " "), make("small", { title: id }, ...marked(id)),
          ...(text && (entry.messages || []).length ? [make("q", { dir: "auto" }, ...marked(text))] : [])),
        make("td", {}, time(moment)),
        make("td", {}, ...marked(file || ""), make("small", {}, `record ${record}`)),
        make("td", {}, badge(fate || "accepted"), make("small", {}, visible(detail || ""))))))));

  const message = ([author, moment, name, text, cut]) => make("li", { class: author },
    make("p", { class: "quiet" },
      make("b", { dir: "auto" }, ...marked(name || author)), name ? ` (${author}) ` : " ", time(moment)),
    make("p", { class: "text", dir: "auto" }, ...marked(text || "")),
    ...(cut ? [make("p", { class: "quiet" }, `${cut.toLocaleString("en")} more characters are not on this page.`)] : []));

  const open = entry => {
    opened = entry;
    reader.replaceChildren();
    for (const button of list.querySelectorAll("button")) {
      const isOpened = button.entry === entry;
      button.tabIndex = isOpened ? 0 : -1;
      if (isOpened) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
    if (entry === null) {
      reader.append(make("h2", { id: "heading", tabindex: "-1" }, "Nothing was found"),
        make("p", {}, "Use fewer words, or widen the filters."));
      return;
    }
    const title = entry.status === "rejected" ? `Rejected record ${visible(entry.id)}`
      : `${visible(entry.name || "Unknown visitor")}${entry.at === undefined ? "" : ", " + time(entry.at)}`;
    reader.append(make("h2", { id: "heading", tabindex: "-1", dir: "auto" }, title),
      make("p", {}, badge(entry.status), " ", ...(entry.flags || []).map(flag => make("span", { class: "badge" }, flag))),
      facts(entry));
    if (entry.raw) reader.append(make("h3", {}, "The record as it was read"),
      make("pre", { tabindex: "0", "aria-label": "The record as it was read" }, ...marked(entry.raw)));
    const texts = (entry.events || []).filter(event => event[5]);
    if ((entry.messages || []).length) {
      reader.append(make("h3", {}, "Messages"), make("ol", { "aria-label": "Messages" }, ...entry.messages.map(message)));
      if (entry.hidden) reader.append(make("p", { class: "quiet" },
        `${entry.hidden.toLocaleString("en")} more messages of this conversation are not on this page.`));
    } else if (texts.length) {
      reader.append(make("h3", {}, "Messages"), make("ol", { "aria-label": "Messages" },
        ...texts.map(event => message(["visitor", event[2], entry.name, event[5], 0]))));
    } else if (!entry.raw && entry.status !== "rejected") {
      reader.append(make("p", { class: "quiet" }, "No transcript was read."));
    }
    if ((entry.events || []).length) reader.append(make("h3", {}, "Events"), events(entry));
    reader.scrollTop = 0;
  };

  const step = by => {
    const buttons = [...list.querySelectorAll("button")];
    const place = buttons.findIndex(button => button.entry === opened) + by;
    if (by === 1 && place >= buttons.length && shown < found.length) { showMore(); return step(by); }
    const button = buttons[Math.max(0, Math.min(buttons.length - 1, place))];
    if (button) { open(button.entry); button.focus(); }
  };

  at("filters").addEventListener("submit", event => event.preventDefault());
  query.addEventListener("input", search);
  for (const field of [status, type, from, to]) field.addEventListener("change", search);
  at("more").addEventListener("click", () => {
    const first = shown;
    showMore();
    list.children[first].firstChild.focus();
  });
  list.addEventListener("keydown", event => {
    const steps = { ArrowDown: 1, ArrowUp: -1, Home: -Infinity, End: Infinity };
    if (event.key in steps) { event.preventDefault(); step(steps[event.key]); }
  });
  query.addEventListener("keydown", event => {
    if (event.key === "ArrowDown" || event.key === "Enter") { event.preventDefault(); step(0); }
  });
  document.addEventListener("keydown", event => {
    const isTyping = event.target.matches("input, select");
    if (event.key === "/" && !isTyping) { event.preventDefault(); query.focus(); }
    if (event.key === "Escape" && !isTyping) step(0);
  });
  search();
})();
