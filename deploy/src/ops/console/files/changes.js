// Changes: asked once, done by the server, told with what they came to. Long work can be looked at and stopped.

import { html, useEffect, useState } from "/htm-preact.js"
import { ask, useReport } from "/asking.js"
import { Command, Nothing, Problem, State, Time, Window } from "/parts.js"
import { counted } from "/words.js"

/** Asks whether a change shall be made. `change` is what the server takes, `question` a sentence. */
export function Asking({ change, question, verb, mayChange, close, done }) {
  const [preview, setPreview] = useState({})
  const [work, setWork] = useState()
  const [error, setError] = useState()
  useEffect(() => {
    ask("/api/preview", change).then(setPreview, setError)
  }, [])
  const start = () => ask("/api/changes", change).then(({ work }) => setWork(work), setError)
  return html`<${Window} label=${question} close=${close}>
    <h2>${question}</h2>
    ${preview.report?.says && html`<p class="preview">${preview.report.says}.</p>`}
    ${preview.report?.report && html`<${Reprocessed} report=${preview.report.report} />`}
    <${Problem} error=${error} />
    <${Command} text=${preview.command} />
    ${work
      ? html`<${Following} id=${work} done=${done} />
          <div class="buttons end"><button type="button" onClick=${close}>Close</button></div>`
      : html`<div class="buttons end">
          ${!mayChange && html`<span class="quiet">This console only reads: copy the command, or start it with --allow-changes.</span>`}
          <button type="button" onClick=${close}>Leave it</button>
          ${mayChange && html`<button type="button" class="main" disabled=${!preview.command} onClick=${start}>${verb}</button>`}
        </div>`}
  </${Window}>`
}

/** One piece of work, until its end. */
export function Following({ id, done }) {
  const [isRunning, setRunning] = useState(true)
  const { report, error } = useReport("/api/work", isRunning ? 0.4 : undefined)
  const work = report?.find((one) => one.id === id)
  useEffect(() => {
    if (!work || work.state === "running") return
    setRunning(false)
    done?.(work)
  }, [work?.state])
  return html`<${Problem} error=${error} />${work && html`<${Work} work=${work} />`}`
}

/** How far work is, or what it came to. */
export function Work({ work }) {
  const { id, state, progress, says, report } = work
  const stop = () => ask(`/api/work/${id}/stop`, {}).catch(() => undefined)
  return html`<div class="work" role="status">
    <p class="row">
      <span><${State} name=${state} /> ${state === "running" ? told(progress) : ""}</span>
      ${state === "running" && html`<button type="button" class="small" onClick=${stop}>Stop</button>`}
    </p>
    ${state === "running" && html`<progress max=${progress?.of ?? undefined} value=${progress?.of ? progress.done : undefined} aria-label="Progress" />`}
    ${says.split("\n").map((line) => line && html`<p class=${state === "failed" ? "bad" : ""} key=${line}><strong>${line}</strong></p>`)}
    ${report?.webhooks && html`<${Reprocessed} report=${report} />`}
    ${report?.found && html`<${Audited} report=${report} />`}
  </div>`
}

const told = (progress) => {
  if (!progress) return "beginning"
  const { done, of, things } = progress
  return of === null ? `${done.toLocaleString("en")} ${things}` : `${done.toLocaleString("en")} of ${of.toLocaleString("en")} ${things}`
}

/** What became, or would become, of webhooks. */
function Reprocessed({ report }) {
  const sums = Map.groupBy?.(report.webhooks, ({ outcome, reason }) => `${outcome}${reason ? `: ${reason}` : ""}`)
  const rows = sums ? [...sums].map(([what, all]) => [what, all.length]) : []
  return html`<ul class="plain">
    ${rows.map(([what, number]) => html`<li key=${what}>${counted(number, "webhook")} <strong>${what}</strong></li>`)}
    ${report.erased > 0 && html`<li>${counted(report.erased, "webhook")} left out: erased, or used meanwhile</li>`}
  </ul>`
}

/** The sums of an audit, and what does not add up. */
export function Audited({ report }) {
  const SUMS = ["accepted", "applied", "duplicate", "stale", "parked", "received", "ignored"]
  return html`<dl class="sums">${SUMS.map((name) => html`<div key=${name}><dt>${name}</dt><dd>${report[name].toLocaleString("en")}</dd></div>`)}
      <div><dt>events waiting</dt><dd>${report.waitingEvents.toLocaleString("en")}</dd></div></dl>
    ${report.found.length > 0 && html`<table>
      <thead><tr><th>Verdict</th><th>What</th><th>Why</th></tr></thead>
      <tbody>${report.found.map((found) => html`<tr key=${found.kind + found.id}>
        <td><${State} name=${found.verdict} /></td><td>${found.kind} <code>${found.id}</code></td><td>${found.says}</td></tr>`)}</tbody>
    </table>`}
    ${report.moreFound > 0 && html`<p class="quiet">And ${report.moreFound.toLocaleString("en")} more; <code>ops audit</code> lists all.</p>`}
    ${report.refused.map((event) => html`<p class="bad" key=${event.eventId}>The stream refuses the event ${event.eventId}: ${event.reason}</p>`)}
    ${report.notes.map((note) => html`<p class="quiet" key=${note}>${note}</p>`)}`
}

/** All work, and the log of what was changed. */
export function WorkWindow({ close }) {
  const works = useReport("/api/work", 1)
  const actions = useReport("/api/actions", 5)
  return html`<${Window} label="Work and log" close=${close}>
    <h2>Work</h2>
    <${Problem} error=${works.error} />
    <${Nothing} of=${works.report} isLoading=${works.isLoading}>Nothing was started here yet.</${Nothing}>
    ${works.report?.map((work) => html`<section class="one" key=${work.id}><code>${work.command}</code> <${Time} at=${work.startedAt} /><${Work} work=${work} /></section>`)}
    <h2>Log of changes</h2>
    ${actions.report
      ? html`<p class="quiet">${actions.report.path}</p>
          <${Nothing} of=${actions.report.actions}>Nothing was changed yet.</${Nothing}>
          ${actions.report.actions.length > 0 && html`<table><tbody>${actions.report.actions.toReversed().map((action, index) => html`<tr key=${index}>
            <td><${Time} at=${action.at} /></td><td>${action.operator.replace("operator:", "")}</td><td><${State} name=${action.state} /></td><td><code>${action.command}</code><br />${action.says}</td></tr>`)}</tbody></table>`}`
      : html`<p class="quiet">This console only reads, so it keeps no log.</p>`}
    <div class="buttons end"><button type="button" onClick=${close}>Close</button></div>
  </${Window}>`
}
