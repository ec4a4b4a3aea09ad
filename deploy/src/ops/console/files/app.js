// The frame of the console: who is let in, which view is shown, what is asked for, and the keys.

import { html, render, useEffect, useState } from "/htm-preact.js"
import { ask, Refused, showNumbers, useNumbers, useReport } from "/asking.js"
import { Asking, WorkWindow } from "/changes.js"
import { Churches } from "/churches.js"
import { Messages } from "/messages.js"
import { Now } from "/now.js"
import { Problem, Window } from "/parts.js"
import { Webhooks } from "/webhooks.js"

const VIEWS = [
  ["now", "Now", Now],
  ["messages", "Messages", Messages],
  ["webhooks", "Webhooks", Webhooks],
  ["churches", "Churches", Churches],
]
const KEYS = [
  ["1 to 4", "the views"],
  ["/", "search"],
  ["j, k", "next and previous row"],
  ["Enter", "open the row"],
  ["n", "show or hide telephone numbers"],
  ["w", "work, and the log of changes"],
  ["Esc", "close a window"],
  ["?", "these keys"],
]

/** The place that the address names: the view, and what stands behind it. */
function place() {
  const [view, ...rest] = location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent)
  return { view: VIEWS.some(([name]) => name === view) ? view : "now", rest }
}

function usePlace() {
  const [now, setNow] = useState(place)
  useEffect(() => {
    const changed = () => setNow(place())
    addEventListener("hashchange", changed)
    return () => removeEventListener("hashchange", changed)
  }, [])
  return now
}

/** Moves the focus from row to row. */
function step(by) {
  const rows = [...document.querySelectorAll("main [data-row]")]
  const at = rows.findIndex((row) => row === document.activeElement || row.contains(document.activeElement))
  rows[Math.min(Math.max(at + by, 0), rows.length - 1)]?.focus()
}

function useKeys(actions) {
  useEffect(() => {
    const pressed = (event) => {
      const isWriting = event.target.closest?.("input, select, textarea, dialog")
      if (isWriting || event.ctrlKey || event.metaKey || event.altKey) return
      const action = actions[event.key]
      if (!action) return
      event.preventDefault()
      action()
    }
    addEventListener("keydown", pressed)
    return () => removeEventListener("keydown", pressed)
  })
}

function App({ about }) {
  const { view, rest } = usePlace()
  const numbers = useNumbers()
  const [asked, setAsked] = useState()
  const [open, setOpen] = useState()
  const works = useReport("/api/work", 3)
  const running = works.report?.filter(({ state }) => state === "running").length ?? 0
  const mayChange = about.allowChanges
  const goTo = (name) => () => (location.hash = `#/${name}`)
  useKeys({
    ...Object.fromEntries(VIEWS.map(([name], index) => [String(index + 1), goTo(name)])),
    "/": () => (document.querySelector("input[type=search]") ? document.querySelector("input[type=search]").focus() : goTo("messages")()),
    j: () => step(1),
    k: () => step(-1),
    n: () => showNumbers(!numbers),
    w: () => setOpen("work"),
    "?": () => setOpen("keys"),
  })
  useEffect(() => {
    document.title = `${VIEWS.find(([name]) => name === view)[1]}: Church live console`
  }, [view])
  const View = VIEWS.find(([name]) => name === view)[2]
  return html`
    <header class="top">
      <h1>Church live</h1>
      <nav aria-label="Views">${VIEWS.map(([name, label], index) => html`<a key=${name} href="#/${name}" aria-current=${name === view ? "page" : undefined} title="Key ${index + 1}">${label}</a>`)}</nav>
      <span class="push"></span>
      <button type="button" class="small" aria-pressed=${String(numbers)} onClick=${() => showNumbers(!numbers)}>${numbers ? "Hide numbers" : "Show numbers"}</button>
      <button type="button" class="small" onClick=${() => setOpen("work")}>${running ? `Work: ${running} running` : "Work and log"}</button>
      <button type="button" class="small" onClick=${() => setOpen("keys")} aria-label="Keys">?</button>
      <span class="who"><strong>${(about.operator ?? "no name").replace("operator:", "")}</strong> <span class=${mayChange ? "may" : "quiet"}>${mayChange ? "may change" : "read only"}</span></span>
    </header>
    <main><${View} key=${view} rest=${rest} mayChange=${mayChange} change=${setAsked} /></main>
    ${asked && html`<${Asking} ...${asked} mayChange=${mayChange} close=${() => setAsked(undefined)} />`}
    ${open === "work" && html`<${WorkWindow} close=${() => setOpen(undefined)} />`}
    ${open === "keys" && html`<${Window} label="Keys" close=${() => setOpen(undefined)}>
      <h2>Keys</h2>
      <dl class="facts">${KEYS.map(([key, does]) => html`<div key=${key}><dt><kbd>${key}</kbd></dt><dd>${does}</dd></div>`)}</dl>
      <p class="quiet">Version ${about.version}</p>
      <div class="buttons end"><button type="button" onClick=${() => setOpen(undefined)}>Close</button></div>
    </${Window}>`}`
}

/** Exchanges the token in the address for the cookie, and takes it out of the address. */
async function enter() {
  const token = location.hash.slice(1)
  if (!/^[0-9a-f]{64}$/.test(token)) return
  history.replaceState(null, "", "#/now")
  await ask("/session", { token }).catch((error) => {
    // Another tab of this browser may have been let in before.
    if (error.status !== 403) throw error
  })
}

async function main() {
  try {
    await enter()
    const { report } = await ask("/api/about")
    render(html`<${App} about=${report} />`, document.body)
  } catch (error) {
    if (!(error instanceof Refused)) throw error
    render(html`<main class="outside"><h1>Church live: console</h1><${Problem} error=${error} /></main>`, document.body)
  }
}

await main()
