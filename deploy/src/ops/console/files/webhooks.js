// The view "Webhooks": what came, by what became of it; one webhook with its body; processing again.

import { html, useEffect, useState } from "/htm-preact.js"
import { usePages, useReport } from "/asking.js"
import { Command, Lists, Nothing, Problem, Search, State, Time } from "/parts.js"
import { between, counted, short, span, words } from "/words.js"

const LISTS = [
  ["parked", "#/webhooks/parked", "Parked"],
  ["ignored", "#/webhooks/ignored", "Ignored"],
  ["stale", "#/webhooks/stale", "Stale"],
  ["duplicate", "#/webhooks/duplicate", "Duplicate"],
  ["refused", "#/webhooks/refused", "Refused"],
  ["all", "#/webhooks/all", "All"],
]
const MEANINGS = {
  parked: "Their recipient is not known. Each is tried again every few seconds.",
  ignored: "A kind that is not used, or one that could not be recorded.",
  stale: "Their recipient was as far already.",
  duplicate: "They came more than once, and were used once.",
  refused: "Requests that were not answered 200. They are counted, and not kept: Telnyx repeats them.",
  all: "Everything that came in the last seven days.",
}
/** What may be processed again. */
const AGAIN = ["parked", "ignored"]

export function Webhooks({ rest, change }) {
  const [list = "parked", ...more] = rest
  // #/webhooks/<list>/<id>; the list "found" has what was looked for before the id.
  const [text, id] = list === "found" ? more : [undefined, more[0]]
  const base = `#/webhooks/${list}${text === undefined ? "" : `/${encodeURIComponent(text)}`}`
  return html`<div class=${id ? "panes open" : "panes"}>
    <section class="pane list" aria-label="Webhooks">
      <${Search} label="Telnyx's id of the event or the text, or our id" find=${(text) => (location.hash = `#/webhooks/found/${encodeURIComponent(text)}`)} />
      <${Lists} label="Lists of webhooks" lists=${LISTS} current=${list} />
      ${MEANINGS[list] && html`<p class="quiet">${MEANINGS[list]}</p>`}
      ${list === "refused" && html`<${Refusals} />`}
      ${list === "found" && html`<${Found} text=${text} base=${base} id=${id} />`}
      ${list !== "refused" && list !== "found" && html`<${Kept} key=${list} list=${list} base=${base} id=${id} change=${change} />`}
    </section>
    <section class="pane detail" aria-label="Webhook">
      ${id ? html`<${One} key=${id} id=${id} back=${base} change=${change} />` : html`<p class="nothing">Choose a webhook.</p>`}
    </section>
  </div>`
}

function Refusals() {
  const { report, error, isLoading } = useReport("/api/now", 5)
  const rows = Object.entries(report?.refusals ?? {}).toSorted((a, b) => b[1] - a[1])
  return html`<${Problem} error=${error} />
    <${Nothing} of=${report && rows} isLoading=${isLoading}>No request was refused since the services started.</${Nothing}>
    ${rows.length > 0 && html`<table><thead><tr><th>Reason</th><th>Since the services started</th></tr></thead>
      <tbody>${rows.map(([reason, count]) => html`<tr key=${reason}><td>${words(reason)}</td><td class="numbers">${count.toLocaleString("en")}</td></tr>`)}</tbody></table>`}`
}

/** How webhooks are paged. */
const PAGES = {
  size: 100,
  idOf: ({ eventId }) => eventId,
  before: ({ receivedAt, eventId }) => `before=${encodeURIComponent(receivedAt)}&id=${encodeURIComponent(eventId)}`,
}

function Kept({ list, base, id, change }) {
  const { rows, hasOlder, older, command, error, isLoading, again } = usePages(`/api/webhooks${list === "all" ? "" : `?outcome=${list}`}`, PAGES, 10)
  const [chosen, setChosen] = useState(new Set())
  const choose = (eventId) => () => {
    const next = new Set(chosen)
    if (!next.delete(eventId)) next.add(eventId)
    setChosen(next)
  }
  const done = () => (setChosen(new Set()), again())
  const process = () => change({ change: { change: "reprocess", which: { events: [...chosen] } }, question: `Process ${counted(chosen.size, "webhook")} again?`, verb: "Process again", done })
  const canAgain = AGAIN.includes(list)
  return html`
    <${Problem} error=${error} />
    <${Nothing} of=${rows} isLoading=${isLoading}>No such webhook came in the last seven days.</${Nothing}>
    ${canAgain && rows?.length > 0 && html`<div class="buttons">
      <label><input type="checkbox" checked=${chosen.size > 0 && chosen.size === rows.length} onChange=${() => setChosen(new Set(chosen.size === rows.length ? [] : rows.map(({ eventId }) => eventId)))} /> all shown</label>
      <button type="button" disabled=${chosen.size === 0} onClick=${process}>Process ${chosen.size || ""} again…</button>
    </div>`}
    <ul class="rows">${rows?.map((one) => html`<li key=${one.eventId}>
      ${canAgain && html`<input type="checkbox" aria-label="Choose ${one.eventId}" checked=${chosen.has(one.eventId)} onChange=${choose(one.eventId)} />`}
      <${Link} webhook=${one} withOutcome=${list === "all"} base=${base} id=${id} />
    </li>`)}</ul>
    ${hasOlder && html`<button type="button" onClick=${older}>Older</button>`}
    <${Command} text=${command} />`
}

/** What a text leads to: one webhook, or those of a message. */
function Found({ text, base, id }) {
  const { report, error, isLoading } = useReport(`/api/webhooks/search?text=${encodeURIComponent(text)}`)
  useEffect(() => {
    if (report?.webhooks.length === 1 && !id) location.replace(`${base}/${encodeURIComponent(report.webhooks[0].eventId)}`)
  }, [report])
  return html`<${Problem} error=${error} />
    <${Nothing} isLoading=${isLoading} />
    ${report && html`<p>Found: ${report.says}.</p>`}
    <ul class="rows">${report?.webhooks.map((one) => html`<li key=${one.eventId}><${Link} webhook=${one} withOutcome base=${base} id=${id} /></li>`)}</ul>`
}

/** The row of a webhook. */
function Link({ webhook, withOutcome, base, id }) {
  const { eventId, eventType, outcome, deliveries, reason, receivedAt } = webhook
  return html`<a data-row href="${base}/${encodeURIComponent(eventId)}" aria-current=${eventId === id ? "true" : undefined}>
    <span>${eventType} ${withOutcome && html`<${State} name=${outcome} />`}</span>
    <span class="numbers">${deliveries > 1 ? `${deliveries} times` : ""}</span>
    <span class="why">${reason ?? html`<code>${short(eventId)}</code>`}</span>
    <span class="quiet"><${Time} at=${receivedAt} withAge />${late(webhook)}</span>
  </a>`
}

/** How long after it happened it came. */
function late({ occurredAt, receivedAt }) {
  if (!occurredAt) return ""
  const seconds = between(occurredAt, receivedAt)
  return seconds >= 1 ? `, ${span(seconds)} late` : ""
}

/** One webhook, and its body as text. */
function One({ id, back, change }) {
  const { report, error, isLoading, again } = useReport(`/api/webhooks/${encodeURIComponent(id)}`)
  const [isShown, setShown] = useState(false)
  useEffect(() => setShown(false), [id])
  if (!report) return html`<a class="back" href=${back}>Back</a><${Problem} error=${error} /><${Nothing} isLoading=${isLoading} />`
  const { webhook, body } = report
  const reprocess = (which, question) => () => change({ change: { change: "reprocess", which }, question, verb: "Process again", done: again })
  return html`
    <a class="back" href=${back}>Back</a>
    <header class="row"><h2>${webhook.eventType} <code>${webhook.eventId}</code></h2><${State} name=${webhook.outcome} /></header>
    <${Problem} error=${error} />
    <dl class="facts">
      ${webhook.reason && html`<div><dt>Reason</dt><dd>${webhook.reason}</dd></div>`}
      <div><dt>Received</dt><dd><${Time} at=${webhook.receivedAt} withAge /></dd></div>
      <div><dt>Happened</dt><dd><${Time} at=${webhook.occurredAt} /></dd></div>
      ${webhook.occurredAt && html`<div><dt>Delay</dt><dd>${span(Math.max(0, between(webhook.occurredAt, webhook.receivedAt)))}</dd></div>`}
      <div><dt>Came</dt><dd>${counted(webhook.deliveries, "time")}</dd></div>
      ${webhook.telnyxId && html`<div><dt>Telnyx's id</dt><dd><a href="#/messages/found/${webhook.telnyxId}"><code>${webhook.telnyxId}</code></a></dd></div>`}
      ${webhook.recipientId && html`<div><dt>Recipient</dt><dd><a href="#/messages/found/${webhook.recipientId}"><code>${webhook.recipientId}</code></a></dd></div>`}
    </dl>
    ${AGAIN.includes(webhook.outcome) && html`<div class="buttons">
      <button type="button" onClick=${reprocess({ events: [webhook.eventId] }, "Process this webhook again?")}>Process again…</button>
      ${webhook.reason && html`<button type="button" onClick=${reprocess({ reason: webhook.reason }, "Process all webhooks with this reason again?")}>All with this reason…</button>`}
    </div>`}
    <h3>Body</h3>
    ${body === "" && html`<p class="quiet">It was erased.</p>`}
    ${body !== "" && (isShown
      ? html`<pre tabindex="0">${body}</pre>`
      : html`<p class="quiet">It may have what a person wrote. <button type="button" class="small" onClick=${() => setShown(true)}>Show it</button></p>`)}`
}
