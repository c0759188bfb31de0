/** One seed gives one plan: how long, how much, what goes wrong. The clouds read it and add their own. */
import { type Random, seededRandom } from '../../runtime/random.ts'
import { between, chance, pick, spread, type Storm, storms, type Window, whole } from './weather.ts'

export type Cloud = 'cloudwatch' | 'azure'

/** A machine's clock: how far it is off from an instant on. */
interface Step {
  from: number
  off: number
}

/** When a process ends, in steps of its own, and how long nobody starts it again. */
export interface End {
  after_steps: number
  /** Asked to stop, rather than killed. */
  gently: boolean
  down: number
}

export interface Plan {
  seed: number
  /** Nothing goes wrong but late and disordered records: here the collector has to be on time, too. */
  calm: boolean
  streams: number
  count: number
  start: number
  /** Records are written here. */
  busy: Window
  longest_delay: number
  stragglers: number
  clock_error: number
  /** The cloud's API fails here; the clouds say how. */
  cloud: Storm[]
  bus: Storm[]
  state: Storm[]
  /** Deleted groups, tables that cannot be queried: by stream. */
  gone: (Window & { stream: number })[]
  skew: Step[]
  ends: End[]
  collectors: 1 | 2
  /** Rescans of hundreds of pages while 5 to 20 % of the requests are throttled, to the end; CloudWatch only. The machine never sleeps. */
  throttled: boolean
}

export const MINUTE = 60_000
export const HOUR = 60 * MINUTE
export const DAY = 24 * HOUR
const START = Date.UTC(2026, 2, 2, 12)

export function createPlan(seed: number, size: 'any' | 'small' = 'any', cloud: Cloud = 'cloudwatch'): { plan: Plan; random: Random } {
  const random = seededRandom(Math.imul(seed, 0x9e3779b1) ^ 0x5bd1e995)
  const calm = chance(random, 0.3)
  const small = size === 'small'
  const start = START + whole(random, 0, DAY)
  const length = small ? between(random, 2, 8) * MINUTE : spread(random, 3 * MINUTE, chance(random, 0.2) ? 100 * MINUTE : 30 * MINUTE)
  const busy = { from: start + MINUTE, to: start + MINUTE + length }
  const longest_delay = pick(random, [2_000, 2 * MINUTE, HOUR, 20 * HOUR, 13.9 * DAY])
  const rough = <T>(make: () => T[]): T[] => (calm || chance(random, 0.3) ? [] : make())
  const span = { from: start, to: busy.to + Math.min(longest_delay, 6 * HOUR) }
  const streams = whole(random, 1, 4)
  const plan: Plan = {
    seed,
    calm,
    streams,
    count: small ? whole(random, 20, 120) : Math.floor(spread(random, 40, chance(random, 0.02) ? 6_000 : 600)),
    start,
    busy,
    longest_delay,
    stragglers: longest_delay <= 2 * MINUTE ? 0 : between(random, 0.01, 0.2),
    clock_error: chance(random, 0.5) ? 0 : 10 * MINUTE,
    cloud: rough(() => storms(random, span, whole(random, 1, 5), 5_000, 40 * MINUTE)),
    bus: rough(() => storms(random, span, whole(random, 1, 4), 2_000, 20 * MINUTE)),
    state: rough(() => storms(random, span, whole(random, 1, 3), 2_000, 10 * MINUTE)),
    gone: rough(() => storms(random, span, whole(random, 1, 2), MINUTE, 2 * HOUR).map(({ from, to }) => ({ from, to, stream: whole(random, 0, streams - 1) }))),
    skew: calm && chance(random, 0.7) ? [] : skewOf(random, span),
    ends: endsOf(random, calm),
    collectors: !calm && chance(random, 0.1) ? 2 : 1,
    throttled: false,
  }
  // Of a random of its own, so that the other worlds are what they were.
  const throttled = seededRandom(seed ^ 0x3ad8025f)
  return { random, plan: cloud === 'cloudwatch' && !calm && !small && chance(throttled, 0.06) ? throttledPlan(plan, throttled) : plan }
}

/** Few faults but one, so that what is late is late because of it. */
function throttledPlan(plan: Plan, random: Random): Plan {
  const busy = { from: plan.busy.from, to: plan.busy.from + between(random, 30, 90) * MINUTE }
  const count = whole(random, 400, 1_200)
  const longest_delay = pick(random, [HOUR, 20 * HOUR])
  return {
    ...plan,
    throttled: true,
    streams: whole(random, 1, 2),
    count,
    busy,
    longest_delay,
    stragglers: between(random, 0.05, 0.2),
    cloud: [],
    gone: [],
    skew: [],
    ends: plan.ends.slice(0, 2).map((end) => ({ ...end, down: Math.min(end.down, 10 * MINUTE) })),
    collectors: 1,
  }
}

/** Within ±10 minutes, set right or wrong now and then. */
const skewOf = (random: Random, span: Window): Step[] =>
  Array.from({ length: whole(random, 1, 3) }, (_, index) => ({
    from: index === 0 ? 0 : between(random, span.from, span.to),
    off: Math.floor(between(random, -10, 10) * MINUTE),
  })).sort((a, b) => a.from - b.from)

/** In a calm world it is started again soon. */
const endsOf = (random: Random, calm: boolean): End[] =>
  Array.from({ length: chance(random, 0.2) ? 0 : whole(random, 1, 8) }, () => ({
    after_steps: Math.floor(spread(random, 1, 1_500)),
    gently: chance(random, 0.25),
    down: calm
      ? pick(random, [between(random, 0, 1_000), between(random, 0, 15 * MINUTE)])
      : pick(random, [0, between(random, 0, 5_000), between(random, 0, 10 * MINUTE), chance(random, 0.3) ? between(random, 0, 30 * HOUR) : 0]),
  }))

export function skewAt(plan: Plan, now: number): number {
  let off = 0
  for (const step of plan.skew) if (now >= step.from) off = step.off
  return off
}

/** The last instant at which anything of the plan still happens. */
export const lastTrouble = (plan: Plan): number => Math.max(plan.busy.to, ...[...plan.cloud, ...plan.bus, ...plan.state, ...plan.gone].map(({ to }) => to))
