/**
 * The loop between findings and people: findings.v1 and alert-actions.v1 go through the lifecycle, what changes goes to
 * alerts.v1, and only then the batch counts as handled; delivery.ts sends from there. State is rebuilt from the bus alone.
 * One active dispatcher: a second process would see only some of the partitions.
 */
import type { Batch, Bus, Partition } from '../bus/bus.ts'
import type { Clock } from '../runtime/clock.ts'
import { crashPoint } from '../runtime/crash.ts'
import { messageOf } from '../runtime/errors.ts'
import type { Logger } from '../runtime/log.ts'
import { counter, gauge } from '../runtime/metrics.ts'
import { type Random, systemRandom } from '../runtime/random.ts'
import type { Alert } from '../schemas/alerts.ts'
import type { Response, Target } from '../schemas/responses.ts'
import type { ResponseLedger } from './chain.ts'
import { readLedger, takeIn } from './chain.ts'
import type { AlertsConfig, ResponsesConfig } from './config.ts'
import { applyAction, applyFinding, applyTick, forgetOld, type Incidents, readIncidents, remember } from './incidents.ts'
import type { LifecyclePolicy, Transition } from './lifecycle.ts'
import { type BlastRadius, decideAct, decideAuto, type DecisionContext, expireDue, hasAuto, issueApproved, propose, standing, wantsProposal } from './proposals.ts'
import { runDelivery } from './delivery.ts'
import { lifecyclePolicy } from './routing.ts'
import type { AlertSink } from './sink.ts'

export interface DispatcherOptions {
  bus: Bus
  alerts: AlertsConfig
  responses: ResponsesConfig
  clock: Clock
  log: Logger
  /** console.public_url; null: no links. */
  console_url?: string | null
  /** The sinks of the config by name. */
  sinks: ReadonlyMap<string, AlertSink>
  /** Jitter of retries. */
  random?: Random
  /** Who else a target serves, asked of the store; null, or a throw: not known. All lookups of a batch get 5 s together. */
  blastRadius?: (target: Target) => Promise<BlastRadius | null>
  /** Keys seen in the last day, for the limit; null: not known. */
  activeKeys?: () => Promise<number | null>
}

type Topic = 'findings.v1' | 'alert-actions.v1' | 'responses.v1'
const TOPICS: readonly Topic[] = ['findings.v1', 'alert-actions.v1', 'responses.v1']
const nameOf = ({ topic, partition }: Partition): string => `${topic} ${partition}`
const OWNERSHIP_MS = 60_000

const TICK_MS = 5_000
const LOOKUP_MS = 5_000

const unownedPartitions = gauge('tokenwatch_alert_partitions_unowned', 'Partitions that another alert process holds: must be 0')
const transitions = counter('tokenwatch_alert_transitions_total', 'Alert revisions by detector and reason', ['detector', 'reason'])

/** Resolves when the signal aborts and running batches are drained; rejects when the bus cannot go on. Closes the sinks. */
export async function runDispatcher(options: DispatcherOptions, signal: AbortSignal): Promise<void> {
  const dispatcher = createDispatcher(options)
  const stop = new AbortController()
  const ended = AbortSignal.any([signal, stop.signal])
  const { bus, alerts, sinks, clock, log } = options
  const owned = new Set<string>()
  try {
    await dispatcher.reload(ended).catch((error: unknown) => {
      if (!ended.aborted) throw error
    })
    const loops = [
      bus.consume<Topic>(
        TOPICS,
        'alert',
        {
          assigned: (partitions) => {
            for (const at of partitions) owned.add(nameOf(at))
            return dispatcher.reload(ended)
          },
          revoked: async (partitions) => {
            for (const at of partitions) owned.delete(nameOf(at))
          },
          handle: (batch, handling) => dispatcher.handle(batch, handling),
        },
        ended,
      ),
      watchOwnership(options, owned, ended),
      runDelivery({ bus, alerts, sinks, clock, log, random: options.random ?? systemRandom, proposalFor: (alertId) => dispatcher.proposalFor(alertId) }, ended),
      dispatcher.tickUntil(ended),
    ]
    const settled = await Promise.allSettled(loops.map((loop) => loop.finally(() => stop.abort())))
    const failed = settled.find((result) => result.status === 'rejected')
    if (failed !== undefined) throw failed.reason
  } finally {
    stop.abort()
    for (const sink of sinks.values()) await sink.close?.()
  }
}

/** Says so while another process has a part of the partitions: acts and limits then rest on half of what is known. */
async function watchOwnership({ bus, clock, log }: DispatcherOptions, owned: ReadonlySet<string>, signal: AbortSignal): Promise<void> {
  let looks = 0
  while (!signal.aborted) {
    await clock.sleep(OWNERSHIP_MS, signal)
    if (signal.aborted) return
    const all = await bus.end_offsets(TOPICS).catch(() => []) // a bus that is away is said by others
    const unowned = all.filter((at) => !owned.has(nameOf(at))).length
    unownedPartitions.set(unowned)
    looks = unowned === 0 ? 0 : looks + 1
    // Partitions that are just being handed over are nobody's for a moment.
    if (looks > 1) log.error('another process has the role alert as well, so each knows only a part of the acts and alerts: run exactly one', { unowned, of: all.length })
  }
}

interface Dispatcher {
  reload(signal: AbortSignal): Promise<void>
  handle(batch: Batch<Topic>, signal: AbortSignal): Promise<void>
  tick(signal: AbortSignal): Promise<void>
  tickUntil(signal: AbortSignal): Promise<void>
  /** The proposal that stands for an alert. */
  proposalFor(alertId: string): Response | null
}

/** Exported for tests that drive it by hand; everything else uses runDispatcher. */
export function createDispatcher(options: DispatcherOptions): Dispatcher {
  const { bus, clock, log } = options
  const policy = lifecyclePolicy(options.alerts)
  let state: State | undefined
  // Partitions are handed over concurrently and share the incidents: one at a time.
  let queue: Promise<unknown> = Promise.resolve()
  const exclusively = <T>(work: () => Promise<T>): Promise<T> => {
    const run = queue.then(work)
    queue = run.catch(() => {})
    return run
  }
  const load = async (signal: AbortSignal): Promise<State> => {
    if (state !== undefined) return state
    const read = { incidents: await readIncidents(bus, signal), ledger: await readLedger(bus, signal), policy, options }
    // A replay ends early when the signal aborts. Half a memory opens incidents anew and proposes twice, and would be kept.
    if (signal.aborted) throw new Error('stopped while the alerts were read from the bus')
    return (state = read)
  }
  const guarded = (work: (loaded: State) => Promise<void>, signal: AbortSignal): Promise<void> =>
    exclusively(async () => {
      const loaded = await load(signal)
      try {
        await work(loaded)
      } catch (error) {
        // A failed publish may have been written or not: only the bus knows, so it is asked again.
        state = undefined
        throw error
      }
    })
  const dispatcher: Dispatcher = {
    reload: (signal) =>
      exclusively(async () => {
        state = undefined
        await load(signal)
      }),
    handle: (batch, signal) => guarded((loaded) => handleBatch(loaded, batch), signal),
    tick: (signal) => guarded((loaded) => handleTick(loaded), signal),
    proposalFor: (alertId) => {
      const ids = [...(state?.ledger.byAlert.get(alertId) ?? [])]
      return ids.map((id) => standing(state?.ledger.steps.get(id) ?? [])).findLast((last) => last !== undefined) ?? null
    },
    tickUntil: async (signal) => {
      while (!signal.aborted) {
        await clock.sleep(TICK_MS, signal)
        if (signal.aborted) return
        await dispatcher.tick(signal).catch((error: unknown) => {
          if (!signal.aborted) log.warn('a tick of the alert lifecycle failed and is repeated', { error: messageOf(error) })
        })
      }
    },
  }
  return dispatcher
}

interface State {
  incidents: Incidents
  ledger: ResponseLedger
  policy: LifecyclePolicy
  options: DispatcherOptions
}

async function handleBatch(state: State, batch: Batch<Topic>): Promise<void> {
  const { incidents, policy } = state
  if (batch.topic === 'responses.v1') {
    // What the responders wrote: the next record of a chain must follow theirs.
    for (const response of batch.records) takeIn(state.ledger, response)
    return
  }
  const results: Transition[] = []
  const touched = new Set<string>()
  const decided: Response[] = []
  const context = await decisionContext(state, batch.topic === 'alert-actions.v1' || hasAuto(state.options.responses))
  const record = (transitionsOfOne: readonly Transition[]): void => {
    for (const result of transitionsOfOne) {
      if (result.alert === undefined) continue
      touched.add(result.alert.alert_id)
      if (result.effects.length === 0) continue
      remember(incidents, result.alert)
      results.push(result)
    }
  }
  if (batch.topic === 'findings.v1') {
    for (const finding of batch.records) record(applyFinding(incidents, finding, policy))
  } else {
    for (const action of batch.records) {
      const acted = applyAction(incidents, action, policy)
      if (action.alert_id !== null && acted.length === 0)
        state.options.log.warn('an act on an alert that is not known is ignored', { act: action.act, alert_id: action.alert_id, who: action.who })
      record(acted)
      if (action.response_id !== null) decided.push(...decideAct(action, incidents.byId, context))
    }
  }
  // A finding that is known already may have lost its proposal to a crash: looking at all that were touched repairs that.
  const proposals = await proposeFor(state, [...touched], context)
  decided.push(...proposals, ...decideAuto(proposals, incidents.byId, context))
  await publish(state, results, decided, context)
}

async function handleTick(state: State): Promise<void> {
  const { incidents, policy, options } = state
  const now = options.clock.now()
  const results = applyTick(incidents, now, policy).filter((result) => result.effects.length > 0)
  for (const { alert } of results) if (alert !== undefined) remember(incidents, alert)
  const context = await decisionContext(state, incidents.byId.size > 0 && hasAuto(options.responses))
  const proposals = await proposeFor(
    state,
    [...incidents.byId.values()].filter((alert) => alert.state !== 'resolved').map((alert) => alert.alert_id),
    context,
  )
  const standingAuto = [...state.ledger.steps.values()].flatMap((steps) => steps.filter((step) => step.step === 'proposed'))
  await publish(state, results, [...proposals, ...expireDue(context), ...decideAuto(standingAuto, incidents.byId, context)], context)
  forgetOld(incidents, now)
}

/**
 * Proposals go first, so that a notification can name the one that stands; then alerts; then commands. After a crash between
 * any two the input comes again: known findings look for missing proposals, and what is approved without a command is issued.
 */
async function publish(state: State, results: readonly Transition[], decided: readonly Response[], context: DecisionContext): Promise<void> {
  const { bus, log } = state.options
  const alerts = results.map((result) => result.alert).filter((alert): alert is Alert => alert !== undefined)
  await bus.publish('responses.v1', decided)
  await bus.publish('alerts.v1', alerts)
  if (alerts.length > 0) crashPoint('alert.after-transition')
  const issued = issueApproved(state.incidents.byId, context)
  await bus.publish('commands.v1', issued.commands)
  await bus.publish('responses.v1', issued.responses)
  for (const { alert, reason } of results) if (alert !== undefined) transitions.inc({ detector: alert.detector, reason })
  for (const step of [...decided, ...issued.responses]) log.info('a response took a step', { response_id: step.response_id, step: step.step, who: step.who, detail: step.detail })
}

async function proposeFor(state: State, alertIds: readonly string[], context: DecisionContext): Promise<Response[]> {
  const made: Response[] = []
  // One budget for all: a store that hangs must not cost every alert of a burst its own wait.
  const until = state.options.clock.now() + LOOKUP_MS
  for (const id of alertIds) {
    const alert = state.incidents.byId.get(id)
    const target = alert === undefined ? undefined : wantsProposal(alert, context)
    if (alert === undefined || target === undefined) continue
    const left = until - state.options.clock.now()
    made.push(propose(alert, target, left > 0 ? await lookedUp(state, state.options.blastRadius, target, left) : null, context))
  }
  return made
}

/** `may_act`: something may be carried out, so the keys in use are counted, fresh. Else not: it reads a day of usage, at every tick. */
async function decisionContext(state: State, may_act: boolean): Promise<DecisionContext> {
  const { responses, clock, console_url, activeKeys } = state.options
  return {
    config: responses,
    ledger: state.ledger,
    now: clock.now(),
    console_url: console_url ?? null,
    active_keys: activeKeys === undefined || !may_act ? null : await lookedUp(state, activeKeys, undefined),
  }
}

/** A lookup that fails or takes too long must not hold up an alert. */
async function lookedUp<A, R>(state: State, lookup: ((argument: A) => Promise<R | null>) | undefined, argument: A, limit = LOOKUP_MS): Promise<R | null> {
  if (lookup === undefined) return null
  const waiting = new AbortController()
  try {
    return await Promise.race([lookup(argument), state.options.clock.sleep(limit, waiting.signal).then(() => null)])
  } catch (error) {
    state.options.log.warn('a lookup for a proposal failed: its figures are shown as not known', { error: messageOf(error) })
    return null
  } finally {
    waiting.abort()
  }
}
