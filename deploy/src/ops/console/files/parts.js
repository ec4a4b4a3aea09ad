// Small parts that all views use.

import { html, useEffect, useRef, useState } from "/htm-preact.js"
import { ago, clock } from "/words.js"

/** A command to copy. */
export function Command({ text }) {
  const [copied, setCopied] = useState(false)
  useEffect(() => {
    if (!copied) return
    const timer = setTimeout(() => setCopied(false), 1500)
    return () => clearTimeout(timer)
  }, [copied])
  if (!text) return null
  const copy = () => navigator.clipboard.writeText(text).then(() => setCopied(true))
  return html`<div class="command">
    <code>${text}</code>
    <button type="button" class="small" onClick=${copy} aria-label="Copy the command">${copied ? "Copied" : "Copy"}</button>
  </div>`
}

/** What could not be read; what is shown beside it may be old. */
export function Problem({ error }) {
  return error ? html`<p class="problem" role="alert">${error.message}</p>` : null
}

/** What stands in place of rows. */
export function Nothing({ of, isLoading, children }) {
  if (isLoading) return html`<p class="nothing" aria-busy="true">Reading…</p>`
  return of?.length === 0 ? html`<p class="nothing">${children}</p>` : null
}

/** A moment, with its age and its exact time on demand. */
export function Time({ at, withAge }) {
  if (!at || at === "-") return html`<span class="quiet">–</span>`
  return html`<time datetime=${at} title=${at}>${clock(at)}${withAge && html` <span class="quiet">${ago(at)} ago</span>`}</time>`
}

/** A state as a word with a colour. */
export function State({ name, children }) {
  return html`<span class="state ${TONES[name] ?? ""}">${children ?? name}</span>`
}

const TONES = {
  ready: "good",
  delivered: "good",
  read: "good",
  applied: "good",
  done: "good",
  received: "good",
  announced: "good",
  emitted: "good",
  degraded: "warn",
  running: "warn",
  pending: "warn",
  parked: "warn",
  stale: "quiet",
  duplicate: "quiet",
  ignored: "quiet",
  due: "warn",
  ask: "warn",
  waits: "warn",
  unsent: "warn",
  unconfirmed: "warn",
  unreported: "warn",
  unanswered: "bad",
  failed: "bad",
  refused: "bad",
  lost: "bad",
  away: "bad",
  "not ready": "bad",
}

/** One field to look for something; `find` gets what was written. */
export function Search({ label, find }) {
  const search = (event) => {
    event.preventDefault()
    const text = new FormData(event.currentTarget).get("text").trim()
    if (text) find(text)
  }
  return html`<form role="search" onSubmit=${search}>
    <input type="search" name="text" placeholder=${label} aria-label=${label} autocomplete="off" spellcheck="false" />
    <button>Search</button>
  </form>`
}

/** Links to the lists of a view. */
export function Lists({ label, lists, current }) {
  return html`<nav class="lists" aria-label=${label}>
    ${lists.map(([name, href, text, badge]) => html`<a key=${name} href=${href} aria-current=${name === current ? "page" : undefined}>${text}${badge > 0 && html` <span class="badge">${badge}</span>`}</a>`)}
  </nav>`
}

/** The last five minutes of a number, the newest to the right. */
export function Spark({ points, label }) {
  const known = points.filter((point) => point !== null)
  const most = Math.max(...known, 0)
  const y = (value) => (most > 0 ? 22 - (20 * value) / most : 22)
  const start = 150 - points.length
  const lines = []
  let line = []
  points.forEach((point, index) => {
    if (point === null) {
      if (line.length) lines.push(line)
      line = []
    } else {
      line.push(`${start + index + 0.5},${y(point).toFixed(2)}`)
    }
  })
  if (line.length) lines.push(line)
  return html`<svg class="spark" viewBox="0 0 150 24" preserveAspectRatio="none" role="img" aria-label=${label}>
    <line class="base" x1="0" x2="150" y1="23.5" y2="23.5" vector-effect="non-scaling-stroke" />
    ${lines.map((line, index) => html`<g key=${index}>
      <polygon points="${line[0].split(",")[0]},24 ${line.join(" ")} ${line.at(-1).split(",")[0]},24" />
      <polyline points=${line.length === 1 ? `${line[0]} ${line[0]}` : line.join(" ")} vector-effect="non-scaling-stroke" />
    </g>`)}
  </svg>`
}

/** Delivered, failed and waiting recipients of a message. */
export function Bar({ all, good, failed, unconfirmed = 0 }) {
  const per = (count) => `${all ? (100 * count) / all : 0}%`
  return html`<svg class="bar" role="img" aria-label="${good} delivered, ${failed} failed, of ${all}">
    <rect class="wait" width="100%" height="6" />
    <rect class="good" width=${per(good)} height="6" />
    <rect class="unconfirmed" x=${per(good)} width=${per(unconfirmed)} height="6" />
    <rect class="failed" x=${per(good + unconfirmed)} width=${per(failed)} height="6" />
  </svg>`
}

/** A window above the page that Escape closes. */
export function Window({ label, close, children }) {
  const dialog = useRef()
  useEffect(() => {
    const before = document.activeElement
    dialog.current.showModal()
    return () => before?.focus?.()
  }, [])
  return html`<dialog ref=${dialog} aria-label=${label} onClose=${close} onCancel=${close}>${children}</dialog>`
}
