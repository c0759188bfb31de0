/** What people do and read, over the bus alone: the commands `alerts` and `responses` are thin around these. */
import type { Bus } from '../bus/bus.ts'
import type { Clock } from '../runtime/clock.ts'
import { UsageError } from '../runtime/errors.ts'
import { freshUuid } from '../runtime/ids.ts'
import { plainText } from '../runtime/text.ts'
import type { AlertAction } from '../schemas/alert-actions.ts'
import type { Alert } from '../schemas/alerts.ts'
import type { Response } from '../schemas/responses.ts'
import { readLedger, verifyChains } from './chain.ts'
import { readIncidents } from './incidents.ts'
import { standing } from './proposals.ts'

export interface Act {
  /** The whole id, or enough of its first characters. */
  id: string
  who: string
  why: string | null
  now: number
}

const ANSWER_POLL_MS = 250
const never = new AbortController().signal

/** Newest revision of every alert, the newest alert first. */
export async function listAlerts(bus: Bus, signal: AbortSignal = never): Promise<Alert[]> {
  const { byId } = await readIncidents(bus, signal)
  return [...byId.values()].sort((left, right) => right.opened_at - left.opened_at || (left.alert_id < right.alert_id ? -1 : 1))
}

/** Throws UsageError for an id that fits none, or several. */
export async function showAlert(bus: Bus, id: string, signal: AbortSignal = never): Promise<Alert> {
  return found(await listAlerts(bus, signal), (alert) => alert.alert_id, id, 'alert', 'npx tokenwatch alerts list --all')
}

export const ackAlert = (bus: Bus, act: Act): Promise<AlertAction> => actOnAlert(bus, 'ack', act, null)

/** `until` in epoch milliseconds. */
export const silenceAlert = (bus: Bus, act: Act & { until: number }): Promise<AlertAction> => actOnAlert(bus, 'silence', act, act.until)

/** The standing step of every response, the newest first. */
export async function listResponses(bus: Bus, signal: AbortSignal = never): Promise<Response[]> {
  const { steps } = await readLedger(bus, signal)
  const last = [...steps.values()].map(standing).filter((step) => step !== undefined)
  return last.sort((left, right) => right.at - left.at || (left.response_id < right.response_id ? -1 : 1))
}

/** All steps of one response in order. Throws UsageError for an id that fits none, or several. */
export async function showResponse(bus: Bus, id: string, signal: AbortSignal = never): Promise<Response[]> {
  const { steps } = await readLedger(bus, signal)
  return found([...steps.values()], (list) => list[0]?.response_id ?? '', id, 'response', 'npx tokenwatch responses list')
}

/** Publishes the act; whether it is allowed is decided by the dispatcher, which writes the answer to responses.v1. */
export async function decideResponse(bus: Bus, act: 'approve' | 'deny' | 'undo', given: Act): Promise<AlertAction> {
  const [first] = await showResponse(bus, given.id)
  return publish(bus, { act, alert_id: null, response_id: first?.response_id ?? given.id, until: null }, given)
}

/**
 * The answer to an act of decideResponse as the books have it: what the roles alert (approve, deny) and respond (undo) wrote.
 * undefined: none within `within_ms`, or at once when no process has that role; the act stands and is answered when one runs.
 */
export async function answerTo(bus: Bus, act: AlertAction, { clock, within_ms }: { clock: Clock; within_ms: number }): Promise<Response | undefined> {
  const mark = `${act.act} ${act.action_id}`
  const somebody = (await bus.members(act.act === 'undo' ? 'respond' : 'alert')) > 0
  const until = clock.now() + (somebody ? within_ms : 0)
  for (;;) {
    const steps = await showResponse(bus, act.response_id ?? '')
    // The intent of an undo says that it began, not how it ended.
    const answer = steps.findLast((step) => step.detail?.startsWith(mark) === true && step.step !== 'intent')
    if (answer !== undefined || clock.now() >= until) return answer
    await clock.sleep(ANSWER_POLL_MS, never)
  }
}

/** Without the mark that says which act it answers. */
export const reasonOf = (answer: Response, act: AlertAction): string | null => answer.detail?.slice(`${act.act} ${act.action_id}`.length).replace(/^: /, '') || null

/** What is wrong with the chains on responses.v1; empty: nothing. */
export async function verifyResponses(bus: Bus, signal: AbortSignal = never): Promise<string[]> {
  const records: Response[] = []
  await bus.replay('responses.v1', (batch) => void records.push(...batch.records), signal)
  return verifyChains(records)
}

async function actOnAlert(bus: Bus, act: 'ack' | 'silence', given: Act, until: number | null): Promise<AlertAction> {
  const alert = await showAlert(bus, given.id)
  return publish(bus, { act, alert_id: alert.alert_id, response_id: null, until }, given)
}

async function publish(bus: Bus, act: Pick<AlertAction, 'act' | 'alert_id' | 'response_id' | 'until'>, given: Act): Promise<AlertAction> {
  const who = plainText(given.who, 200).trim()
  if (who === '') throw new UsageError('say who you are (--who NAME)')
  const action: AlertAction = { ...act, action_id: freshUuid(), who, why: given.why === null ? null : plainText(given.why, 1000), at: given.now }
  await bus.publish('alert-actions.v1', [action])
  return action
}

function found<T>(list: readonly T[], idOf: (item: T) => string, id: string, what: string, hint: string): T {
  const wanted = id.toLowerCase()
  const fits = list.filter((item) => idOf(item).startsWith(wanted))
  if (fits.length > 1 && wanted !== '') throw new UsageError(`several ${what}s begin with "${id}": give more characters`)
  const [only] = fits
  if (wanted === '' || only === undefined) throw new UsageError(`there is no ${what} "${id}"; see: ${hint}`)
  return only
}
