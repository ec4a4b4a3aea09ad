// The view "Webhooks": what came, by what became of it; one webhook with its body; processing again.

import { html, useEffect, useState } from "/htm-preact.js"
import { ask, useReport } from "/asking.js"
import { Command, Lists, Nothing, Problem, State, Time } from "/parts.js"
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
  const [list = "parked", id] = rest
  return html`<div class=${id ? "panes open" : "panes"}>
    <section class="pane list" aria-label="Webhooks">
      <${Lists} label="Lists of webhooks" lists=${LISTS} current=${list} />
      <p class="quiet">${MEANINGS[list]}</p>
      ${list === "refused" ? html`<${Refusals} />` : html`<${Kept} key=${list} list=${list} id=${id} change=${change} />`}
    </section>
    <section class="pane detail" aria-label="Webhook">
      ${id ? html`<${One} key=${id} id=${id} back="#/webhooks/${list}" change=${change} />` : html`<p class="nothing">Choose a webhook.</p>`}
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

function Kept({ list, id, change }) {
  const path = `/api/webhooks${list === "all" ? "" : `?outcome=${list}`}`
  const first = useReport(path, 10)
  const [older, setOlder] = useState([])
  const [chosen, setChosen] = useState(new Set())
  const [error, setError] = useState()
  const rows = [...(first.report ?? []), ...older]
  const last = rows.at(-1)
  const more = () => ask(`${path}${path.includes("?") ? "&" : "?"}before=${encodeURIComponent(last.receivedAt)}&id=${encodeURIComponent(last.eventId)}`).then(({ report }) => setOlder([...older, ...report]), setError)
  const choose = (eventId) => () => {
    const next = new Set(chosen)
    if (!next.delete(eventId)) next.add(eventId)
    setChosen(next)
  }
  const done = () => (setChosen(new Set()), first.again())
  const again = () => change({ change: { change: "reprocess", which: { events: [...chosen] } }, question: `Process ${counted(chosen.size, "webhook")} again?`, verb: "Process again", done })
  const canAgain = AGAIN.includes(list)
  return html`
    <${Problem} error=${first.error ?? error} />
    <${Nothing} of=${first.report} isLoading=${first.isLoading}>No such webhook came in the last seven days.</${Nothing}>
    ${canAgain && rows.length > 0 && html`<div class="buttons">
      <label><input type="checkbox" checked=${chosen.size > 0 && chosen.size === rows.length} onChange=${() => setChosen(new Set(chosen.size === rows.length ? [] : rows.map(({ eventId }) => eventId)))} /> all shown</label>
      <button type="button" disabled=${chosen.size === 0} onClick=${again}>Process ${chosen.size || ""} again…</button>
    </div>`}
    <ul class="rows">${rows.map((one) => html`<li key=${one.eventId}>
      ${canAgain && html`<input type="checkbox" aria-label="Choose ${one.eventId}" checked=${chosen.has(one.eventId)} onChange=${choose(one.eventId)} />`}
      <a data-row href="#/webhooks/${list}/${encodeURIComponent(one.eventId)}" aria-current=${one.eventId === id ? "true" : undefined}>
        <span>${one.eventType} ${list === "all" && html`<${State} name=${one.outcome} />`}</span>
        <span class="numbers">${one.deliveries > 1 ? `${one.deliveries} times` : ""}</span>
        <span class="why">${one.reason ?? html`<code>${short(one.eventId)}</code>`}</span>
        <span class="quiet"><${Time} at=${one.receivedAt} withAge />${late(one)}</span>
      </a>
    </li>`)}</ul>
    ${first.report?.length === 100 && html`<button type="button" onClick=${more}>Older</button>`}
    <${Command} text=${first.command} />`
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
