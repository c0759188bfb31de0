/** One seed, from the first record to the verdict. */
import { createFormats } from '../../ingest/formats/index.ts'
import { runCollector } from '../../ingest/collector.ts'
import { createPipeline } from '../../ingest/pipeline.ts'
import type { CollectorSource } from '../../ingest/sources/index.ts'
import { createLogger, type Logger, silentLogger } from '../../runtime/log.ts'
import { type Random, seededRandom } from '../../runtime/random.ts'
import { noPrices } from '../support/ingest.ts'
import { Durable } from './bus.ts'
import { VirtualClock } from './clock.ts'
import { Life } from './life.ts'
import { type Figures, Oracle } from './oracle.ts'
import { type End, MINUTE, type Plan, skewAt } from './plan.ts'
import { awakeIn } from './timing.ts'
import { mapping, type TrueRecord } from './truth.ts'
import { between, chance, spread, type Window } from './weather.ts'

/** What a cloud brings to a run. */
export interface World {
  records: readonly TrueRecord[]
  /** The shipped sources, as one process has them, talking to the model. */
  open(life: Life, log: Logger): Promise<CollectorSource[]>
  marks: (checkpoint: unknown) => Record<string, number>
  /** When everything must have been collected. */
  end: number
  /** How far back a first start begins, ms. */
  start: number
  /** So much waking time something visible may be missing while a stream says 100 %, ms. */
  honest_within: number
  /** What else must hold at the end; `awake`: a collector ran, on a machine that did not sleep. */
  check(oracle: Oracle, awake: readonly Window[]): void
  close?(): Promise<void>
}

export interface WorldContext {
  plan: Plan
  clock: VirtualClock
  random: Random
}

export interface Result {
  seed: number
  figures: Figures
  faults: ReadonlyMap<string, readonly string[]>
  steps: number
  lives: number
  /** Virtual ms. */
  lasted: number
}

const pipeline = createPipeline({
  formats: createFormats([mapping]),
  hash_key: 'a-key-for-tests-only',
  attribution: [],
  rater: noPrices,
  privacy: { truncate_ip: 'none', user_ids: 'keep' },
})

/** Deterministic: the same plan, random and world give the same result, step by step. `say` gets the collector's log lines. */
export async function runWorld(context: WorldContext, world: World, say?: (line: string) => void): Promise<Result> {
  const { plan, clock } = context
  const random = seededRandom(plan.seed ^ 0x2545f491)
  const ran: Window[] = []
  const naps: Window[] = []
  const awakeSince = (at: number): number => awakeIn(without(joined(ran), naps), at, clock.now())
  const localNow = (): number => clock.now() + skewAt(plan, clock.now())
  const off = Math.max(0, ...plan.skew.map((step) => step.off))
  const { records, marks, honest_within } = world
  const oracle = new Oracle({ clock, records, marks, shared: plan.collectors > 1, awakeSince, localNow, start: world.start - off, honest_within })
  const durable = new Durable(clock, random, plan, oracle)
  const run: Run = {
    ...context,
    random,
    world,
    oracle,
    durable,
    ran,
    naps,
    steps: 0,
    lives: 0,
    log: say === undefined ? silentLogger : createLogger({ level: 'debug', write: say }),
  }
  const unpatch = patchRandom(random)
  try {
    const processes = Array.from({ length: plan.collectors }, (_, index) => keepAlive(run, index === 0 ? plan.ends : []))
    const over = Promise.all(processes)
    over.catch((error: unknown) => oracle.fault('crash', error instanceof Error ? (error.stack ?? error.message) : String(error)))
    void sleepAndWake(run)
    let finished = false
    void over.then(
      () => (finished = true),
      () => (finished = true),
    )
    if (!(await clock.drive(() => finished))) oracle.fault('stuck', 'nobody waits for anything any more, and the run is not over')
    world.check(oracle, without(run.ran, run.naps))
    const { figures, faults } = oracle.close()
    return { seed: plan.seed, figures, faults, steps: run.steps, lives: run.lives, lasted: clock.now() - plan.start }
  } finally {
    unpatch()
    await world.close?.()
  }
}

interface Run extends WorldContext {
  world: World
  oracle: Oracle
  durable: Durable
  /** A collector ran here … */
  ran: Window[]
  /** … but the machine slept here. */
  naps: Window[]
  steps: number
  lives: number
  log: Logger
}

/** Starts the process again as often as the plan ends it. */
async function keepAlive(run: Run, ends: readonly End[]): Promise<void> {
  const { clock, world } = run
  for (const end of [...ends, undefined]) {
    const ran = { from: clock.now(), to: Infinity }
    run.ran.push(ran)
    await oneLife(run, end)
    ran.to = clock.now()
    if (clock.now() >= world.end) return
    if (end !== undefined) await clock.sleep(Math.min(end.down, Math.max(0, world.end - 45 * MINUTE - clock.now())))
  }
}

async function oneLife(run: Run, end: End | undefined): Promise<void> {
  const { clock, plan, world, durable, oracle, random, log } = run
  const crashed = (error: unknown): void => oracle.fault('crash', error instanceof Error ? (error.stack ?? error.message) : String(error))
  const stop = new AbortController()
  const life = new Life(clock, { id: ++run.lives, skew: (now) => skewAt(plan, now), ends_at: end?.after_steps, instead: end?.gently === true ? () => stop.abort() : undefined })
  const sources = await world.open(life, log)
  const running = runCollector({ sources, pipeline, bus: durable.bus(life), state: durable.state(life), clock: life.clock, log, random }, stop.signal).catch(crashed)
  const over = new AbortController()
  void clock.sleep(world.end - clock.now(), over.signal).then(() => stop.abort())
  const stopped = new Promise<void>((resolve) => stop.signal.addEventListener('abort', () => resolve(), { once: true }))
  const deaf = stopped.then(() => clock.sleep(10 * MINUTE, over.signal)).then(() => over.signal.aborted || oracle.fault('deaf', 'the collector does not stop when it is asked to'))
  await Promise.race([running, life.died, deaf])
  over.abort()
  life.kill()
  run.steps += life.steps
}

/** When the busy time is over the machine sleeps most of the time, so that weeks take seconds. */
async function sleepAndWake({ clock, plan, world, random, naps }: Run): Promise<void> {
  if (plan.throttled) return
  await clock.sleep(plan.busy.to + 12 * MINUTE - clock.now())
  while (clock.now() < world.end - 45 * MINUTE) {
    const nap = Math.min(spread(random, 20 * MINUTE, 20 * 60 * MINUTE), world.end - 40 * MINUTE - clock.now())
    naps.push({ from: clock.now(), to: clock.now() + nap })
    clock.jump(nap)
    await clock.sleep(between(random, 0.3, chance(random, 0.1) ? 12 : 1.5) * MINUTE)
  }
}

/** Where one of two collectors ran, or both. */
function joined(windows: readonly Window[]): Window[] {
  const parts: Window[] = []
  for (const { from, to } of [...windows].sort((a, b) => a.from - b.from)) {
    const last = parts.at(-1)
    if (last !== undefined && from <= last.to) last.to = Math.max(last.to, to)
    else parts.push({ from, to })
  }
  return parts
}

/** Both in order of time. */
function without(windows: readonly Window[], holes: readonly Window[]): Window[] {
  return windows.flatMap(({ from, to }) => {
    const parts: Window[] = []
    for (const hole of holes) {
      if (hole.to <= from || hole.from >= to) continue
      parts.push({ from, to: hole.from })
      from = hole.to
    }
    return [...parts, { from, to }].filter((part) => part.to > part.from)
  })
}

/** Loops take the system's randomness where nobody gives them another one: it must repeat as well. */
function patchRandom(random: Random): () => void {
  const original = Math.random
  Math.random = random
  return () => {
    Math.random = original
  }
}
