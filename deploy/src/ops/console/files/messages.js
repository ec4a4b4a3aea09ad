// The view "Messages": lists of what is wrong, search, and the life of one message.

import { html, useEffect, useState } from "/htm-preact.js"
import { usePages, useReport } from "/asking.js"
import { Bar, Command, Lists, Nothing, Problem, Search, State, Time } from "/parts.js"
import { counted, short, words } from "/words.js"

const LISTS = [
  ["stuck", "#/messages/stuck", "Stuck"],
  ["unanswered", "#/messages/unanswered", "Attempts without an answer"],
  ["failed", "#/messages/failed", "Failed in 24 hours"],
]

export function Messages({ rest, change }) {
  const [list = "stuck", ...more] = rest
  // #/messages/<list>/<id>; the lists "church" and "found" have what they show before the id.
  const hasKey = list === "church" || list === "found"
  const [key, id] = hasKey ? more : [undefined, more[0]]
  const base = `#/messages/${list}${hasKey ? `/${encodeURIComponent(key ?? "")}` : ""}`
  return html`<div class=${id ? "panes open" : "panes"}>
    <section class="pane list" aria-label="Messages">
      <${Search} label="Our id, Telnyx's id, +15551234567, or a church" find=${find} />
      <${Lists} label="Lists of messages" lists=${LISTS} current=${list} />
      ${(list === "stuck" || list === "unanswered") && html`<${Stuck} list=${list} base=${base} id=${id} />`}
      ${list === "failed" && html`<${Failed} base=${base} id=${id} />`}
      ${list === "church" && html`<${OfChurch} key=${key} church=${key} base=${base} id=${id} />`}
      ${list === "found" && html`<${Found} text=${key} base=${base} id=${id} />`}
    </section>
    <section class="pane detail" aria-label="Message">
      ${id ? html`<${Life} key=${id} id=${id} back=${base} change=${change} />` : html`<p class="nothing">Choose a message, or search for one.</p>`}
    </section>
  </div>`
}

/** Goes to what a text leads to. */
function find(written) {
  const text = written.startsWith("+") ? written.replace(/[\s().-]/g, "") : written
  const isChurch = /^[\w-]{1,64}$/.test(text) && !/^[0-9a-f]{8}-[0-9a-f-]{27}$/i.test(text)
  location.hash = `#/messages/${isChurch ? "church" : "found"}/${encodeURIComponent(text)}`
}

function Stuck({ list, base, id }) {
  const path = list === "stuck" ? "/api/messages/stuck" : "/api/messages/stuck?waiting=unanswered"
  const { report, command, error, isLoading } = useReport(path, 10)
  const says = list === "stuck" ? "Recipients that have waited for ten minutes or longer." : "Nobody knows yet whether Telnyx has these texts. They are never sent again by themselves."
  return html`<p class="quiet">${says}</p>
    <${Problem} error=${error} />
    <${Nothing} of=${report} isLoading=${isLoading}>Nothing is stuck.</${Nothing}>
    <ul class="rows">${report?.map((one) => html`<${Row} key=${one.messageId + one.waiting} href="${base}/${one.messageId}" isOpen=${one.messageId === id}>
      <span><strong>${one.churchId}</strong> <${State} name=${one.waiting}>${words(one.waiting)}</${State}></span>
      <span class="numbers">${counted(one.recipients, "recipient")}</span>
      <code>${short(one.messageId)}</code>
      <span class="quiet">since <${Time} at=${one.since} withAge /></span>
    </${Row}>`)}</ul>
    <${Command} text=${command} />`
}

function Failed({ base, id }) {
  const [code, setCode] = useState()
  const { report, command, error, isLoading } = useReport(`/api/messages/failed${code === undefined ? "" : `?code=${encodeURIComponent(code)}`}`, 10)
  const all = useReport("/api/messages/failed", 30)
  const reasons = all.report?.reasons
  return html`<${Problem} error=${error} />
    <${Nothing} of=${reasons} isLoading=${all.isLoading}>No recipient failed.</${Nothing}>
    ${reasons?.length > 0 && html`<ul class="reasons">
      ${reasons.map((reason) => html`<li key=${reason.code}><button type="button" aria-pressed=${String(code === reason.code)} onClick=${() => setCode(code === reason.code ? undefined : reason.code)}>
        <strong class="numbers">${reason.recipients.toLocaleString("en")}</strong> <span>${reason.reason || "no reason known"}</span> <code>${reason.code}</code></button></li>`)}
    </ul>`}
    ${!isLoading && html`<ul class="rows">${report?.recipients.map((one) => html`<${Row} key=${one.recipientId} href="${base}/${one.recipientId}" isOpen=${one.recipientId === id || one.messageId === id}>
      <span><strong>${one.churchId}</strong> ${one.phone}</span>
      <code>${one.code}</code>
      <code>${short(one.messageId)}</code>
      <span class="quiet"><${Time} at=${one.failedAt} withAge />${one.retryId && ", retried"}</span>
    </${Row}>`)}</ul>`}
    <${Command} text=${command} />`
}

/** How the messages of a church are paged. */
const PAGES = { size: 50, idOf: ({ messageId }) => messageId, before: ({ messageId }) => `before=${messageId}` }

function OfChurch({ church, base, id }) {
  const { rows, hasOlder, older, error, isLoading } = usePages(`/api/messages?church=${encodeURIComponent(church)}`, PAGES, 5)
  return html`<p>Messages of <strong>${church}</strong>, the newest first. <a href="#/churches/${church}">The church</a></p>
    <${Problem} error=${error} />
    <${Nothing} of=${rows} isLoading=${isLoading}>This church has no message.</${Nothing}>
    <ul class="rows">${rows?.map((one) => html`<${MessageRow} key=${one.messageId} message=${one} href="${base}/${one.messageId}" isOpen=${one.messageId === id} />`)}</ul>
    ${hasOlder && html`<button type="button" onClick=${older}>Older</button>`}`
}

function Found({ text, base, id }) {
  const { report, command, error, isLoading } = useReport(`/api/messages/search?text=${encodeURIComponent(text)}`)
  const place = ({ recipientId, messageId }) => recipientId ?? messageId
  useEffect(() => {
    if (report?.messages.length === 1 && !id) location.replace(`${base}/${place(report.messages[0])}`)
  }, [report])
  return html`<${Problem} error=${error} />
    ${error && /^[\w-]{1,64}$/.test(text) && html`<p><a href="#/messages/church/${text}">Messages of a church of this name</a></p>`}
    <${Nothing} isLoading=${isLoading} />
    ${report && html`<p>Found: ${report.says}.</p>`}
    <ul class="rows">${report?.messages.map((one) => html`<${MessageRow} key=${one.messageId} message=${one} church=${one.churchId} href="${base}/${place(one)}" isOpen=${place(one) === id} />`)}</ul>
    <${Command} text=${command} />`
}

function MessageRow({ message, church, href, isOpen }) {
  const { messageId, status, failureReason, deliveredCount, recipientCount, createdAt } = message
  return html`<${Row} href=${href} isOpen=${isOpen}>
    <span>${church && html`<strong>${church}</strong>`} <${State} name=${status} /> ${failureReason && html`<span class="bad">${failureReason}</span>`}</span>
    <span class="numbers">${deliveredCount} of ${recipientCount}</span>
    <code>${short(messageId)}</code>
    <span class="quiet"><${Time} at=${createdAt} withAge /></span>
  </${Row}>`
}

function Row({ href, isOpen, children }) {
  return html`<li><a data-row href=${href} aria-current=${isOpen ? "true" : undefined}>${children}</a></li>`
}

/** Everything that is recorded of a message. */
function Life({ id, back, change }) {
  const { report: life, command, error, isLoading, again } = useReport(`/api/messages/${encodeURIComponent(id)}`, 5)
  const [unresolved, setUnresolved] = useState(false)
  const retry = () => change({ change: { change: "retry", id: life.messageId, includeUnresolved: unresolved }, question: "Send this message again to those whom it did not reach?", verb: "Send again", done: again })
  const cancel = () => change({ change: { change: "cancel", id: life.messageId }, question: "Cancel what has not left yet?", verb: "Cancel the rest", done: again })
  if (!life) return html`<a class="back" href=${back}>Back</a><${Problem} error=${error} /><${Nothing} isLoading=${isLoading} />`
  const phones = new Map(life.recipients.map(({ id, phone }) => [id, phone]))
  const open = life.recipientCount - life.deliveredCount - life.failedCount - life.unconfirmedCount
  return html`
    <a class="back" href=${back}>Back</a>
    <header class="row">
      <h2>Message <code>${life.messageId}</code></h2><${State} name=${life.status} />
    </header>
    <${Problem} error=${error} />
    <${Bar} all=${life.recipientCount} good=${life.deliveredCount} failed=${life.failedCount} unconfirmed=${life.unconfirmedCount} />
    <p class="numbers">${counted(life.recipientCount, "recipient")}: ${life.deliveredCount} delivered (${life.readCount} read), ${life.failedCount} failed (${life.cancelledCount} cancelled), ${life.unconfirmedCount} unconfirmed, ${open} open</p>
    <dl class="facts">
      <div><dt>Church</dt><dd><a href="#/churches/${life.churchId}">${life.churchId}</a></dd></div>
      <div><dt>By</dt><dd>${life.authorId}</dd></div>
      <div><dt>Sent as</dt><dd>${life.sender ?? "–"}</dd></div>
      <div><dt>Version</dt><dd>${life.version}</dd></div>
      ${life.sendAt && html`<div><dt>Not before</dt><dd><${Time} at=${life.sendAt} /></dd></div>`}
      ${life.cancelledBy && html`<div><dt>Cancelled by</dt><dd>${life.cancelledBy}</dd></div>`}
      ${life.retryOf && html`<div><dt>Retries</dt><dd><a href="${back}/${life.retryOf}"><code>${short(life.retryOf)}</code></a></dd></div>`}
    </dl>
    <div class="buttons">
      <button type="button" disabled=${life.failedCount === 0} onClick=${retry}>Send again…</button>
      <label><input type="checkbox" checked=${unresolved} onChange=${(event) => setUnresolved(event.currentTarget.checked)} /> also those of whom nobody knows whether it reached them</label>
      <button type="button" disabled=${open === 0} onClick=${cancel}>Cancel…</button>
    </div>
    <${Recipients} life=${life} back=${back} />
    <header class="row"><h3>Its life</h3><a href="#/webhooks/found/${encodeURIComponent(id)}">Its webhooks</a></header>
    <ol class="life">${life.steps.map((step, index) => html`<${Step} key=${index} step=${step} whose=${life.recipientCount > 1 && phones.get(step.recipientId)} before=${life.steps[index - 1]} />`)}</ol>
    ${life.notes.map((note) => html`<p class="quiet" key=${note}>${note}</p>`)}
    <${Command} text=${command} />`
}

function Recipients({ life, back }) {
  const isOne = life.recipients.length === 1 && life.recipientCount > 1
  return html`<h3>${isOne ? "One recipient" : "Recipients"}</h3>
    <table>
      <thead><tr><th>Recipient</th><th>State</th><th>Why</th><th class="extra">Telnyx's id</th></tr></thead>
      <tbody>${life.recipients.map((one) => html`<tr key=${one.id}>
        <td>${one.phone} <code class="quiet" title=${one.id}>${short(one.id)}</code></td><td><${State} name=${one.status} /></td>
        <td>${one.failureReason ? html`${one.failureReason} ${one.failureCode && html`<code>${one.failureCode}</code>`}` : html`<span class="quiet">–</span>`}${one.retryId && html` <a href="${back}/${one.retryId}">retried</a>`}</td>
        <td class="extra"><code title=${one.telnyxId}>${one.telnyxId ? short(one.telnyxId) : "–"}</code></td>
      </tr>`)}</tbody>
    </table>
    ${life.moreRecipients > 0 && html`<p class="quiet">And ${life.moreRecipients.toLocaleString("en")} more. ${isOne ? html`<a href="${back}/${life.messageId}">The whole message</a>` : "The unfinished and the failed ones are shown first; search for a recipient's number or Telnyx's id to see another."}</p>`}`
}

/** One step; with whose it is if the message has several recipients. */
function Step({ step, whose, before }) {
  const isSameTime = before && before.at.slice(0, 19) === step.at.slice(0, 19)
  return html`<li class=${step.step.replaceAll(" ", "-")}>
    <span class="when">${isSameTime ? html`<span class="quiet">″</span>` : html`<${Time} at=${step.at} />`}</span>
    <${State} name=${step.step}>${words(step.step)}</${State}>
    <span>${step.step === "webhook" ? html`<a href="#/webhooks/all/${encodeURIComponent(step.eventId)}">${step.says}</a>` : step.says}${whose && html` <span class="quiet">${whose} <code title=${step.recipientId}>${short(step.recipientId)}</code></span>`}</span>
  </li>`
}
