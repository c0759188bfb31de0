// Draws /api/status every two seconds. Everything goes in as text, never as markup: alerts carry words from logs.
const REFRESH_MS = 2000
// A live collector speaks every few seconds, a slow cloud every few minutes.
const SILENT_MS = 15 * 60_000
export const byId = (id) => document.getElementById(id)
const money = new Intl.NumberFormat('en-US', { style: 'currency', currency: 'USD' })
const whole = new Intl.NumberFormat('en-US')

// Sums of a few decimals for the eye only; exact ones are in /api/spend.
export const usd = (text) => (text === null || text === undefined ? null : Number(text))
export const cents = (value) => (value > 0 && value < 0.005 ? '< $0.01' : money.format(value))
const shownUsd = (value) => (value === null ? 'unpriced' : cents(value))
const total = (rows, field) => rows.reduce((sum, row) => sum + Number(row[field] ?? 0), 0)

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name)
  for (const [key, value] of Object.entries(attributes)) if (value !== undefined) made.setAttribute(key, value)
  made.append(...children.filter((child) => child !== null && child !== undefined))
  return made
}

function show(id, text) {
  const target = byId(id)
  if (target.textContent !== text) target.textContent = text
}

function ago(then, now) {
  if (then === null) return '–'
  const seconds = Math.max(0, Math.round((now - Number(then)) / 1000))
  if (seconds < 90) return `${seconds} s ago`
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`
  if (seconds < 129_600) return `${Math.round(seconds / 3600)} h ago`
  return `${Math.round(seconds / 86_400)} days ago`
}

const isOpen = (alert) => alert.state !== 'resolved'

/** Not read to its end, not blind, and yet nobody has said anything about it for long: it left the config, or the collector is gone. */
const isSilent = (row, now) => !row.done && !row.blind && now - Number(row.updated_at) > SILENT_MS

function drawHealth(status) {
  const streams = (count, what) => `${count} ${count === 1 ? 'stream is' : 'streams are'} ${what}`
  const blind = (status.collectors ?? []).filter((row) => row.blind).length
  const silent = (status.collectors ?? []).filter((row) => isSilent(row, status.now)).length
  const pill = byId('health')
  const [text, mood] =
    status.problems.length > 0
      ? ['Store is not fully readable', 'bad']
      : blind > 0
        ? [streams(blind, 'blind'), 'bad']
        : silent > 0
          ? (status.collectors ?? []).some((row) => !row.done && !isSilent(row, status.now))
            ? [`${streams(silent, 'silent')}, the others are read`, '']
            : ['Nothing is collected: does a process with the role collect run?', 'bad']
          : (status.collectors ?? []).length === 0
            ? ['Waiting for a source', '']
            : ['All streams are read', 'good']
  pill.className = `pill ${mood}`
  show('health', text)
  byId('notice').hidden = status.problems.length === 0
  show('notice', status.problems.join(' · '))
  show('updated', `updated ${new Date(status.now).toISOString().slice(11, 19)} UTC`)
  show('roles', `roles here: ${status.roles.join(', ')}`)
}

function drawFigures({ month, hours, open }) {
  if (month) {
    const today = total(month, 'today_usd')
    show('spend-today', money.format(today))
    show('spend-today-note', `${teamsOf(month.filter((row) => Number(row.today_usd ?? 0) > 0))} teams`)
    show('spend-month', money.format(total(month, 'cost_usd')))
    show('spend-month-note', `${whole.format(total(month, 'requests'))} requests`)
  }
  if (hours) {
    show('spend-day', money.format(total(hours, 'cost_usd')))
    drawHours(hours)
  }
  if (open) {
    const count = Number(open.alerts)
    const rate = usd(open.spend_usd_per_minute)
    show('open-alerts', whole.format(count))
    show('risk', count === 0 ? 'all quiet' : rate === null ? 'cost not known' : `${cents(rate)} a minute at risk`)
    byId('risk-figure').classList.toggle('alarm', count > 0)
  }
}

const teamsOf = (rows) => rows.filter((row) => row.team_id !== 'unattributed').length

function drawHours(hours) {
  const highest = Math.max(...hours.map((row) => Number(row.cost_usd ?? 0)), 1e-9)
  const step = 250 / Math.max(hours.length, 1)
  const bars = hours.map((row, index) => {
    const height = Math.max(1, (Number(row.cost_usd ?? 0) / highest) * 42)
    const bar = document.createElementNS('http://www.w3.org/2000/svg', 'rect')
    for (const [key, value] of Object.entries({ x: index * step, y: 44 - height, width: step * 0.78, height, rx: 1 })) bar.setAttribute(key, value)
    if (index === hours.length - 1) bar.setAttribute('class', 'now')
    const title = document.createElementNS('http://www.w3.org/2000/svg', 'title')
    title.textContent = `${new Date(Number(row.at) * 1000).toISOString().slice(11, 16)} UTC: ${shownUsd(usd(row.cost_usd))}`
    bar.append(title)
    return bar
  })
  byId('hours').replaceChildren(...bars)
}

function alertItem(alert, now) {
  const facts = [
    alert.detector,
    alert.team_id ?? 'no team',
    alert.service,
    alert.api_key_id ?? alert.entity,
    isOpen(alert) ? `since ${ago(alert.opened_at, now).replace(' ago', '')}` : `resolved ${ago(alert.resolved_at, now)}`,
    alert.acked_by ? `taken by ${alert.acked_by}` : null,
  ].filter(Boolean)
  const rate = usd(alert.spend_usd_per_minute)
  const spent = usd(alert.spend_usd)
  return element(
    'li',
    { class: isOpen(alert) ? undefined : 'resolved' },
    element('span', { class: `tag ${alert.severity}` }, alert.severity),
    element(
      'div',
      {},
      element('h3', {}, element('a', { href: `/alerts/${alert.alert_id}` }, alert.title)),
      element('p', { class: 'summary' }, alert.summary),
      element('p', { class: 'facts' }, facts.join(' · ')),
      responseLine(alert.response),
    ),
    element('p', { class: 'rate' }, rate === null ? 'cost unknown' : `${cents(rate)}/min`, element('small', {}, spent === null ? '' : `${cents(spent)} so far`)),
  )
}

export function responseLine(response) {
  if (!response) return null
  const mode = response.dry_run ? 'dry run' : response.policy
  return element('p', { class: 'response' }, element('b', {}, response.action), element('span', {}, `${response.target_kind} ${response.target_id} · ${response.state} · ${mode}`))
}

function drawAlerts({ alerts, open, now }) {
  if (!alerts) return
  const hidden = Number(open?.alerts ?? 0) - alerts.filter(isOpen).length
  byId('alerts-more').hidden = hidden <= 0
  show('alerts-more', `${whole.format(hidden)} more open: npx tokenwatch alerts list`)
  // Rebuilt only when something changed, so that a reader's selection and focus stay.
  const list = byId('alerts')
  const stamp = JSON.stringify(alerts) + Math.floor(now / 30_000)
  if (list.dataset.stamp === stamp) return
  list.dataset.stamp = stamp
  list.replaceChildren(...alerts.map((alert) => alertItem(alert, now)))
  byId('alerts-empty').hidden = alerts.length > 0
}

function drawTeams({ month, teams }) {
  if (!month) return
  const lastDay = new Map((teams ?? []).map((row) => [row.team_id, usd(row.cost_usd)]))
  const rows = [...month].sort((a, b) => Number(b.cost_usd ?? 0) - Number(a.cost_usd ?? 0))
  const highest = Math.max(...rows.map((row) => Number(row.cost_usd ?? 0)), 1e-9)
  byId('teams').replaceChildren(
    ...rows.map((row) => {
      const filled = element('span')
      filled.style.width = `${(100 * Number(row.cost_usd ?? 0)) / highest}%`
      const name = element(
        'th',
        { scope: 'row', class: row.team_id === 'unattributed' ? 'nobody' : undefined },
        row.team_id,
        element('div', { class: 'meter', 'aria-hidden': 'true' }, filled),
      )
      return element(
        'tr',
        {},
        name,
        element('td', { class: 'number' }, lastDay.has(row.team_id) ? shownUsd(lastDay.get(row.team_id)) : '–'),
        element('td', { class: 'number' }, shownUsd(usd(row.cost_usd))),
      )
    }),
  )
  byId('teams-empty').hidden = rows.length > 0
  const percent = (part, of) => (of > 0 ? `${((100 * part) / of).toFixed(2)} %` : '–')
  show(
    'share-unattributed',
    percent(
      total(
        rows.filter((row) => row.team_id === 'unattributed'),
        'cost_usd',
      ),
      total(rows, 'cost_usd'),
    ),
  )
  show('share-unpriced', percent(total(rows, 'unpriced_tokens'), total(rows, 'tokens')))
  show('share-unmetered', percent(total(rows, 'unmetered_requests'), total(rows, 'requests')))
}

function drawCollectors({ collectors, now }) {
  if (!collectors) return
  const number = (value) => element('td', { class: 'number' }, value)
  byId('collectors').replaceChildren(
    ...collectors.map((row) => {
      const state = row.blind ? 'blind' : row.done ? 'done' : isSilent(row, now) ? 'silent' : 'reading'
      const why = row.blind && row.reason ? element('div', {}, row.reason) : null
      return element(
        'tr',
        {},
        element('td', {}, element('code', {}, row.source_stream), why),
        element('td', {}, element('span', { class: `tag ${state}` }, state)),
        number(row.lag_seconds === null ? '–' : `${Math.max(0, Number(row.lag_seconds)).toFixed(0)} s`),
        number([row.cloud_delay_seconds, row.own_delay_seconds].map((value) => (value === null ? '–' : `${Number(value).toFixed(0)} s`)).join(' + ')),
        element('td', {}, ago(row.last_event_time, now)),
        number(row.completeness === null ? 'not told' : `${(100 * Number(row.completeness)).toFixed(1)} %`),
        ...['records', 'skipped', 'rejected', 'late'].map((field) => number(whole.format(Number(row[field] ?? 0)))),
      )
    }),
  )
  byId('collectors-empty').hidden = collectors.length > 0
}

async function refresh() {
  try {
    const answer = await fetch('/api/status')
    if (!answer.ok) throw new Error(`status ${answer.status}`)
    const status = await answer.json()
    drawHealth(status)
    drawFigures(status)
    drawAlerts(status)
    drawTeams(status)
    drawCollectors(status)
  } catch (error) {
    byId('health').className = 'pill bad'
    show('health', 'Tokenwatch does not answer')
    show('updated', `trying again (${error.message})`)
  }
  setTimeout(refresh, REFRESH_MS)
}

show('query-url', `${location.origin}/query`)
void refresh()
