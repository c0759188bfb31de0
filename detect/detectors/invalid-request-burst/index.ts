/** invalid-request-burst: many refused requests, told apart into search (SOC) and mistake (owning team). README.md has the rules. */
import type { DetectedFinding, DetectorSpec, Step } from '../../detector.ts'
import { attemptOf, isUsage } from './attempt.ts'
import { type InvalidRequestBurstConfig, invalidRequestBurstConfig } from './config.ts'
import { ATTACK, errorsOf, judge, lessonOf } from './judge.ts'
import { tell } from './tell.ts'
import { BUCKET_MS, BurstState } from './state.ts'

/** Addresses come and go; what an address did two days ago does not matter. */
const ADDRESS_MEMORY_MS = 2 * 86_400_000
const KEY_MEMORY_MS = 42 * 86_400_000

export const invalidRequestBurst: DetectorSpec<'usage.v1' | 'secret-access.v1', BurstState, InvalidRequestBurstConfig> = {
  id: 'invalid-request-burst',
  summary: 'Bursts of refused requests of a key, an address or an actor: somebody trying doors, or one mistake repeated',
  config: invalidRequestBurstConfig,
  example: { min_errors: 10, min_targets: 4 },
  version: '2',
  topics: ['usage.v1', 'secret-access.v1'],
  attack: ATTACK,
  keys(event) {
    if (!isUsage(event)) return event.is_child ? [] : [`actor:${event.actor_id}`]
    const key = event.api_key_id === null ? event.owner_ref : `key:${event.api_key_id}`
    // Successes of an address say nothing: only who fails is followed by address.
    return event.client_ip === null || event.outcome === 'success' ? [key] : [key, `address:${event.client_ip}`]
  },
  step(state, input, key, { config, now }) {
    state ??= new BurstState()
    return 'event' in input ? onEvent(state, input.event, key, now, config) : onTick(state, input.tick, key, config)
  },
  encode: (state) => state.encode(),
  decode: (bytes) => BurstState.decode(bytes),
  forget_after_ms: (key) => (key.startsWith('address:') ? ADDRESS_MEMORY_MS : KEY_MEMORY_MS),
}

type Event = Parameters<typeof attemptOf>[0]

function onEvent(state: BurstState, event: Event, key: string, now: number, config: InvalidRequestBurstConfig): Step<BurstState> {
  const bucket = state.add(attemptOf(event))
  const verdict = judge(state, key, bucket, now, config, null)
  // A plain mistake is told at the close, when it is sure that nothing worse came after it.
  const finding = verdict?.hostile ? tell(key, bucket, verdict, false) : undefined
  return withWake(state, now, finding ? [finding] : [])
}

function onTick(state: BurstState, tick: number, key: string, config: InvalidRequestBurstConfig): Step<BurstState> {
  const findings: DetectedFinding[] = []
  state.close(tick, (bucket) => {
    const before = state.pending.filter(({ start }) => start > bucket.start - 6 * BUCKET_MS).reduce((sum, { errors }) => sum + errors, 0)
    const errors = errorsOf(bucket)
    const verdict = judge(state, key, bucket, tick, config, errors === 0 ? null : before + errors)
    const finding = verdict && tell(key, bucket, verdict, true)
    if (finding) findings.push(finding)
    return lessonOf(state, key, bucket, tick, config, verdict)
  })
  // What is still open may have waited for its past to be closed.
  for (const [, bucket] of state.ready(tick)) {
    const verdict = judge(state, key, bucket, tick, config, null)
    const finding = verdict?.hostile ? tell(key, bucket, verdict, false) : undefined
    if (finding) findings.push(finding)
  }
  return withWake(state, tick, findings)
}

const withWake = (state: BurstState, now: number, findings: DetectedFinding[]): Step<BurstState> => {
  const wake_at = state.wakeAfter(now)
  return wake_at === undefined ? { state, findings } : { state, findings, wake_at }
}
