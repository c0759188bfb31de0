/**
 * responses.v1 as a ledger: who decided what, in an order that nobody can change unseen. One chain per target. Two roles write
 * to it, the dispatcher (decisions) and the responder (executions); where both write at once two records follow the same one,
 * which is a fork, not a forgery. A chain proves order and content, not that its tail is still there.
 */
import type { Bus } from '../bus/bus.ts'
import { canonicalJson } from '../runtime/canonical-json.ts'
import { sha256Hex } from '../runtime/ids.ts'
import type { Response, Target } from '../schemas/responses.ts'

export type ResponseStep = Omit<Response, 'seq' | 'prev' | 'hash'>

export interface ResponseLedger {
  /** Steps of each response in the order of the bus. */
  steps: Map<string, Response[]>
  /** alert_id → response ids. */
  byAlert: Map<string, Set<string>>
  heads: Map<string, { seq: number; hash: string }>
}

export const emptyLedger = (): ResponseLedger => ({ steps: new Map(), byAlert: new Map(), heads: new Map() })

export async function readLedger(bus: Bus, signal: AbortSignal): Promise<ResponseLedger> {
  const ledger = emptyLedger()
  await bus.replay(
    'responses.v1',
    (batch) => {
      for (const response of batch.records) takeIn(ledger, response)
    },
    signal,
  )
  return ledger
}

/** Adds a record; a repetition of one that is there changes nothing. */
export function takeIn(ledger: ResponseLedger, response: Response): void {
  const steps = ledger.steps.get(response.response_id) ?? []
  if (steps.some((step) => step.hash === response.hash)) return
  ledger.steps.set(response.response_id, [...steps, response])
  const ids = ledger.byAlert.get(response.alert_id) ?? new Set<string>()
  ledger.byAlert.set(response.alert_id, ids.add(response.response_id))
  const head = ledger.heads.get(targetKey(response.target))
  if (head === undefined || response.seq >= head.seq) ledger.heads.set(targetKey(response.target), { seq: response.seq, hash: response.hash })
}

/** The next record of the target's chain, already taken in: publish it before anything rests on it. */
export function append(ledger: ResponseLedger, step: ResponseStep): Response {
  const head = ledger.heads.get(targetKey(step.target))
  const body = { ...step, seq: head === undefined ? 0 : head.seq + 1, prev: head?.hash ?? '' }
  const response: Response = { ...body, hash: hashOf(body) }
  takeIn(ledger, response)
  return response
}

/** Problems of all chains in the order given, none if they are whole. Repetitions of the same record are no problem. */
export function verifyChains(records: readonly Response[]): string[] {
  const problems: string[] = []
  const places = new Map<string, number>()
  for (const record of records) {
    const place = `${targetKey(record.target)} #${record.seq}`
    const { hash, ...body } = record
    if (hashOf(body) !== hash) problems.push(`${place}: the record was changed after it was written`)
    const before = record.prev === '' ? -1 : places.get(`${targetKey(record.target)} ${record.prev}`)
    if (before === undefined) problems.push(`${place}: the record before it is missing`)
    else if (record.seq !== before + 1) problems.push(`${place}: it does not follow the record before it`)
    places.set(`${targetKey(record.target)} ${hash}`, record.seq)
  }
  return problems
}

const targetKey = (target: Target): string => `${target.provider} ${target.kind} ${target.id}`

const hashOf = (body: Omit<Response, 'hash'>): string => sha256Hex(`audit/v1\n${body.prev}\n${canonicalJson(body)}`)
