// The page of one alert, where the links of mails lead: /alerts/ID. Drawn once; the rest of the page goes on as ever.
import { byId, cents, element, responseLine, usd } from './page.js'

const id = /^\/alerts\/([^/]+)$/.exec(location.pathname)?.[1]
const time = (epoch) => (epoch === null ? '–' : `${new Date(Number(epoch)).toISOString().slice(0, 19).replace('T', ' ')} UTC`)
const money = (text) => (usd(text) === null ? 'unknown' : cents(usd(text)))

function rows(pairs) {
  const lines = pairs
    .filter(([, value]) => value !== null && value !== '')
    .map(([name, value]) => element('tr', {}, element('th', { scope: 'row' }, name), element('td', {}, value)))
  return element('table', { class: 'facts-table' }, element('tbody', {}, ...lines))
}

/** Members of a list under each other, fields of an object beside each other. */
function shown(value) {
  if (Array.isArray(value)) return element('ul', {}, ...value.map((item) => element('li', {}, shown(item))))
  if (typeof value !== 'object' || value === null) return String(value)
  return Object.entries(value)
    .map(([name, cell]) => `${name} ${typeof cell === 'object' ? JSON.stringify(cell) : cell}`)
    .join(', ')
}

function facts(alert) {
  return rows([
    ['State', `${alert.state}${alert.acked_by ? `, taken by ${alert.acked_by}` : ''}${alert.backfill ? ', about old events' : ''}`],
    ['Detector', `${alert.detector} (${alert.reason})`],
    ['Entity', alert.entity],
    ['Team', alert.team_id ?? 'no team'],
    ['Service', alert.service],
    ['Provider', alert.provider],
    ['Cost per minute', money(alert.spend_usd_per_minute)],
    ['Spent in this incident', money(alert.spend_usd)],
    ['First event', time(alert.first_event_time)],
    ['Last event', time(alert.last_event_time)],
    ['Techniques', alert.attack.join(', ')],
  ])
}

function draw(alert) {
  document.title = `${alert.title} · Tokenwatch`
  byId('one-alert-body').replaceChildren(
    element('h3', {}, element('span', { class: `tag ${alert.severity}` }, alert.severity), ` ${alert.title}`),
    element('p', {}, alert.summary),
    responseLine(alert.response) ?? '',
    facts(alert),
    element('h3', {}, 'Evidence'),
    rows(Object.entries(JSON.parse(alert.evidence)).map(([name, value]) => [name, shown(value)])),
    element('p', { class: 'empty' }, 'Take it: ', element('code', {}, `npx tokenwatch alerts ack ${alert.alert_id}`)),
  )
}

if (id !== undefined) {
  byId('one-alert').hidden = false
  try {
    const answer = await fetch(`/api/alerts/${id}`)
    const body = await answer.json()
    if (answer.ok) draw(body.alert)
    else byId('one-alert-body').replaceChildren(element('p', {}, body.error))
  } catch (error) {
    byId('one-alert-body').replaceChildren(element('p', {}, `the alert cannot be read now (${error.message}): load the page again`))
  }
  byId('one-alert-title').focus()
}
