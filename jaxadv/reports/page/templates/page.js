// The list of attacks. Whatever comes from a record is written by textContent, as a text node or as
// an attribute that runs nothing; never as markup.

const { rows = [], pictures } = JSON.parse(document.getElementById("data").textContent);
const OUTCOMES = { yes: "yes", no: "no", failed: "failed", "": "not judged" };
const ROOM = 90; // characters of a ranking in the list
const byId = new Map(rows.map((row, number) => [row.id, number]));
const $ = (id) => document.getElementById(id);

function make(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

const address = (name) => (pictures ? pictures[name] : `pictures/${encodeURIComponent(name)}`);
const link = (row) => `#row-${encodeURIComponent(row.id)}`;
const norm = (row) => (row.norm === undefined ? "–" : row.norm.toPrecision(4));
const outcome = (row) => row.outcome || "";

function picture(name, alt) {
  return make("img", { src: address(name), alt, loading: "lazy", decoding: "async" });
}

// A text is a list of words, changed ones in a list of their own; a ranking is one of objects.
const isRanking = (said) => said.some((part) => part.text !== undefined);
const plain = (said = []) =>
  said.map((part) => part.text ?? (Array.isArray(part) ? part[0] : part)).join(isRanking(said) ? ", " : "");

function saying(said = []) {
  if (!said.length) return make("p", { class: "nothing" }, "–");
  if (!isRanking(said)) {
    return make("p", {}, ...said.map((part) => (Array.isArray(part) ? make("mark", {}, part[0]) : part)));
  }
  const items = said.map((item) => {
    const kind = item.kind ? make("small", {}, ` ${item.kind}`) : "";
    return make("li", { "data-kind": item.kind }, item.text, kind);
  });
  return make("ol", {}, ...items);
}

// what a row of the list has room for; all of it is in the dialog
function brief(said = []) {
  if (!isRanking(said)) return saying(said);
  let length = 0;
  const first = said.filter((item, place) => !place || (length += item.text.length) < ROOM);
  const items = first.map((item) => make("span", { "data-kind": item.kind }, item.text));
  const parts = items.flatMap((item, place) => (place ? [", ", item] : [item]));
  return make("p", {}, ...parts, first.length < said.length ? ", …" : "");
}

function badge(row) {
  const already = outcome(row) === "yes" && row.values?.already === true ? ", already before" : "";
  return make("span", { class: "badge", "data-outcome": outcome(row) }, OUTCOMES[outcome(row)] + already);
}

// ---------------------------------------------------------------- the list

// DataTables reads what it searches as HTML on one line, so that is escaped; it is given nodes to show
const escaped = (text) =>
  text.replace(/[\r\n\u2028\u2029]/g, " ").replace(/&/g, "&amp;").replace(/</g, "&lt;");

function column(text, show, value = text) {
  const render = (row, type) =>
    type === "display" ? show(row) : type === "filter" ? escaped(text(row)) : value(row);
  return { data: null, render, type: "string" };
}

const words = (text) => column(text, (row) => document.createTextNode(text(row) || "–"));
const thumbnail = (row) => (row.adversarial ? picture(row.adversarial, "") : document.createTextNode(""));

function startList() {
  const table = new DataTable("#rows", {
    data: rows,
    columns: [
      { ...column(() => "", thumbnail), orderable: false, searchable: false, className: "thumbnail" },
      {
        ...column((row) => row.image || row.id, (row) => make("a", { href: link(row) }, row.image || row.id)),
        className: "image",
      },
      words((row) => row.victim || ""),
      words((row) => row.method || ""),
      { ...words((row) => row.setting || ""), className: "setting" },
      { ...column((row) => plain(row.before), (row) => brief(row.before)), className: "said" },
      { ...column((row) => plain(row.after), (row) => brief(row.after)), className: "said" },
      column((row) => OUTCOMES[outcome(row)], badge),
      {
        ...column(norm, (row) => document.createTextNode(norm(row)), (row) => row.norm ?? Infinity),
        type: "num",
        className: "number",
      },
    ],
    autoWidth: false,
    order: [],
    pageLength: 25,
    lengthMenu: [25, 50, 100],
    layout: { topStart: null, topEnd: null, bottomStart: "pageLength", bottomEnd: "paging" },
    language: { zeroRecords: "No attack is like that.", lengthMenu: "Rows a page _MENU_" },
  });
  $("rows").parentElement.classList.add("scroll");
  return table;
}

function startFilters(table) {
  const form = $("filters");
  const fields = form.elements;
  for (const name of ["victim", "method", "setting", "outcome"]) {
    const values = [...new Set(rows.map((row) => row[name] || ""))];
    const shown = (value) => (name === "outcome" ? OUTCOMES[value] : value || "none");
    // the empty value stands for all, so each option carries its value behind a letter
    for (const value of values.sort()) fields[name].append(make("option", { value: `=${value}` }, shown(value)));
    if (values.length < 2) fields[name].closest("label").hidden = true;
  }
  const isWanted = (row) =>
    ["victim", "method", "setting", "outcome"].every(
      (name) => !fields[name].value || fields[name].value === `=${row[name] || ""}`,
    ) &&
    (fields.least.value === "" || row.norm >= Number(fields.least.value)) &&
    (fields.most.value === "" || row.norm <= Number(fields.most.value));
  table.search.fixed("filters", (text, row) => isWanted(row));
  let waiting;
  const apply = () => table.search(fields.words.value).draw();
  form.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(apply, 120);
  });
  form.addEventListener("reset", () => setTimeout(apply));
  form.addEventListener("submit", (event) => event.preventDefault());
}

function startCards(table) {
  const cards = $("cards");
  const show = (asCards) => {
    $("list").classList.toggle("as-cards", asCards);
    cards.hidden = !asCards;
    $("as-cards").setAttribute("aria-pressed", asCards);
    $("as-table").setAttribute("aria-pressed", !asCards);
    fill();
  };
  const fill = () => {
    const here = cards.hidden ? [] : table.rows({ page: "current" }).data().toArray();
    cards.replaceChildren(...here.map(card));
  };
  $("as-table").addEventListener("click", () => show(false));
  $("as-cards").addEventListener("click", () => show(true));
  table.on("draw", fill);
  if (matchMedia("(max-width: 40rem)").matches) show(true);
}

function card(row) {
  const seen = row.adversarial
    ? picture(row.adversarial, "")
    : make("span", { class: "nothing" }, "no picture");
  const about = [row.method, row.setting].filter(Boolean).join(" · ");
  return make(
    "li",
    {},
    make("a", { href: link(row) }, seen, make("span", { class: "name" }, row.image || row.id)),
    make("div", { class: "said" }, brief(row.after)),
    make("p", { class: "about" }, badge(row), ` ${norm(row)} · ${about}`),
  );
}

// the links of what is shown, in its order
const links = () => [...document.querySelectorAll($("cards").hidden ? "#rows tbody a" : "#cards a")];

function startKeys(table) {
  $("list").addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const here = links().indexOf(document.activeElement);
    if (!step || here < 0) return;
    event.preventDefault();
    const next = links()[here + step];
    if (next) return next.focus();
    const { page, pages } = table.page.info();
    if (page + step < 0 || page + step >= pages) return;
    table.page(page + step).draw("page");
    links().at(step > 0 ? 0 : -1)?.focus();
  });
  $("rows").addEventListener("click", (event) => {
    const row = event.target.closest("tbody tr");
    if (row && !event.target.closest("a")) row.querySelector("a")?.click();
  });
}

// ---------------------------------------------------------------- a row

function described(row) {
  const { benign, noise, adversarial } = row;
  const figures = [
    [benign, "before", `What was attacked: ${row.image || row.id}`],
    [noise, row.scale, "The perturbation, orange where it adds and purple where it takes away"],
    [adversarial, "after", `What the attack made of ${row.image || row.id}`],
  ].filter(([name]) => name);
  const parts = [
    make(
      "div",
      { class: "pictures" },
      ...figures.map(([name, title, alt]) =>
        make("figure", {}, picture(name, alt), make("figcaption", {}, title)),
      ),
    ),
  ];
  if (row.missing) parts.push(make("p", { class: "hint" }, row.missing));
  const about = make("p", { class: "about" }, badge(row), ` ‖ε‖₂ ${norm(row)} · `);
  about.append([row.victim, row.method, row.setting].filter(Boolean).join(" · "));
  parts.push(about);
  if (row.aim) parts.push(make("h3", {}, "Aim"), make("p", {}, row.aim));
  parts.push(
    make(
      "div",
      { class: "sides" },
      make("div", {}, make("h3", {}, "Before"), saying(row.before)),
      make("div", {}, make("h3", {}, outcome(row) === "failed" ? "Why it failed" : "After"), saying(row.after)),
    ),
  );
  const told = Object.entries(row.values ?? {}).map(([name, value]) =>
    make("div", {}, make("dt", {}, name), make("dd", {}, String(value))),
  );
  parts.push(make("h3", {}, "Recorded"), make("dl", { class: "values" }, ...told));
  return parts;
}

function startRow(table) {
  const dialog = $("row");
  let shown = -1;
  const goTo = (hash) => {
    location.hash = hash;
  };
  const open = (number) => {
    shown = number;
    $("row-title").textContent = rows[number].image || rows[number].id;
    $("link").href = link(rows[number]);
    $("inside").replaceChildren(...described(rows[number]));
    const order = table.rows({ search: "applied" }).indexes().toArray();
    const place = order.indexOf(number);
    $("previous").disabled = place <= 0;
    $("next").disabled = place < 0 || place + 1 >= order.length;
    if (!dialog.open) {
      dialog.showModal();
      $("close").focus();
    }
    dialog.scrollTop = 0;
  };
  const move = (step) => {
    const order = table.rows({ search: "applied" }).indexes().toArray();
    const next = order[order.indexOf(shown) + step];
    if (shown >= 0 && order.includes(shown) && next !== undefined) goTo(link(rows[next]));
  };
  const read = () => {
    const named = location.hash.match(/^#row-(.*)$/s);
    let number;
    try {
      number = named ? byId.get(decodeURIComponent(named[1])) : undefined;
    } catch {
      number = undefined; // an address that somebody mistyped
    }
    if (number !== undefined) open(number);
    else if (dialog.open) dialog.close();
  };
  dialog.addEventListener("close", () => {
    if (!location.hash.startsWith("#row-")) return;
    try {
      history.replaceState(null, "", location.href.replace(/#.*$/s, ""));
    } catch {
      goTo(""); // a frame in a notebook has no address to replace
    }
    const gone = rows[shown] && link(rows[shown]);
    links().find((one) => one.getAttribute("href") === gone)?.focus();
  });
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") move(-1);
    if (event.key === "ArrowRight") move(1);
  });
  $("previous").addEventListener("click", () => move(-1));
  $("next").addEventListener("click", () => move(1));
  $("close").addEventListener("click", () => dialog.close());
  addEventListener("hashchange", read);
  read();
}

// ---------------------------------------------------------------- start

// DataTables' own style follows a class, not what the reader prefers
const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark", dark.matches);
dark.addEventListener("change", follow);
follow();

// in a notebook's frame an address that is a fragment alone would be one of the notebook
if (location.protocol === "about:") {
  document.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="#"]');
    if (!link) return;
    event.preventDefault();
    location.hash = link.getAttribute("href");
  });
}

if (rows.length) {
  const table = startList();
  const tell = () => {
    const { recordsDisplay, recordsTotal } = table.page.info();
    const of = recordsDisplay < recordsTotal ? ` of ${recordsTotal.toLocaleString("en")}` : "";
    $("count").textContent = `${recordsDisplay.toLocaleString("en")}${of} attacks`;
  };
  table.on("draw", tell);
  startCards(table);
  startFilters(table);
  startKeys(table);
  table.draw();
  startRow(table);
}
