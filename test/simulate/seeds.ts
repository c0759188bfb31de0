/** Many seeds, one after the other, and the sum of their figures. */
import { monotonicMs } from '../../runtime/clock.ts'
import { createAzureWorld } from './azure-world.ts'
import { VirtualClock } from './clock.ts'
import { createCloudWatchWorld } from './cloudwatch-world.ts'
import { type Cloud, createPlan, type Plan } from './plan.ts'
import { type Result, runWorld } from './run.ts'

export const clouds = ['cloudwatch', 'azure'] as const satisfies readonly Cloud[]

export interface SeedOptions {
  /** Default: even seeds are CloudWatch, odd ones Azure. */
  cloud?: Cloud | undefined
  /** The real SDK clients talk HTTP to the model's server; small worlds then. */
  http?: boolean
  say?: (line: string) => void
  /** For a world that is nearly that of the seed. */
  change?: (plan: Plan) => Plan
}

export const cloudOf = (seed: number): Cloud => (seed % 2 === 0 ? 'cloudwatch' : 'azure')

export async function runSeed(seed: number, options: SeedOptions = {}): Promise<Result & { cloud: Cloud }> {
  const cloud = options.cloud ?? cloudOf(seed)
  const { plan: made, random } = createPlan(seed, options.http === true ? 'small' : 'any', cloud)
  const plan = options.change?.(made) ?? made
  const clock = new VirtualClock(plan.start)
  const context = { plan, clock, random }
  const world = await (cloud === 'cloudwatch' ? createCloudWatchWorld : createAzureWorld)(context, options.http === true)
  return { cloud, ...(await runWorld(context, world, options.say)) }
}

export interface Sum {
  seeds: number
  records: number
  events: number
  published: number
  lost: number
  twice: number
  steps: number
  lives: number
  virtual_days: number
  /** Waking ms from being visible to being on the bus, sorted, by scan; calm worlds only. */
  ages: Map<string, number[]>
  failed: { seed: number; cloud: Cloud; faults: Result['faults'] }[]
  ms: number
}

/** Stops at the first failure where `stop_at_fault` says so; `told` hears of each seed. */
export async function runSeeds(seeds: Iterable<number>, options: SeedOptions & { stop_at_fault?: boolean; told?: (result: Result & { cloud: Cloud }) => void } = {}): Promise<Sum> {
  const begin = monotonicMs()
  const sum: Sum = { seeds: 0, records: 0, events: 0, published: 0, lost: 0, twice: 0, steps: 0, lives: 0, virtual_days: 0, ages: new Map(), failed: [], ms: 0 }
  for (const seed of seeds) {
    const result = await runSeed(seed, options)
    options.told?.(result)
    sum.seeds++
    for (const name of ['records', 'events', 'published', 'lost', 'twice'] as const) sum[name] += result.figures[name]
    sum.steps += result.steps
    sum.lives += result.lives
    sum.virtual_days += result.lasted / 86_400_000
    for (const [tier, list] of result.figures.ages) sum.ages.set(`${result.cloud} ${tier}`, [...(sum.ages.get(`${result.cloud} ${tier}`) ?? []), ...list])
    if (result.faults.size > 0) sum.failed.push({ seed, cloud: result.cloud, faults: result.faults })
    if (options.stop_at_fault === true && sum.failed.length > 0) break
  }
  for (const list of sum.ages.values()) list.sort((a, b) => a - b)
  sum.ms = monotonicMs() - begin
  return sum
}

/** The faults of one seed, each kind with its first few. */
export const describeFaults = (faults: Result['faults']): string =>
  [...faults]
    .map(
      ([kind, list]) =>
        `  ${kind} (${list.length})\n${list
          .slice(0, 3)
          .map((line) => `    ${line}`)
          .join('\n')}`,
    )
    .join('\n')

export const repeatWith = (seed: number, cloud: Cloud, http: boolean): string =>
  `npm run simulate -- ${http ? '--seeds 0 --http 1' : '--seeds 1'} --seed ${seed}${cloud === cloudOf(seed) ? '' : ` --cloud ${cloud}`} --say`
