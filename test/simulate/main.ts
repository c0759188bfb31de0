/**
 * npm run simulate -- [--seeds N] [--seed S] [--http K] [--cloud cloudwatch|azure] [--planted [ID]] [--say]
 *
 * N seeds from S on against the models, K of them once more with the real SDK clients over HTTP, and with --planted the proof
 * that the oracle sees what it should. Every failure says how to repeat it. Exit code 1 if there was one.
 */
import { parseArgs } from 'node:util'
import { runPlanted } from './planted/run.ts'
import type { Cloud } from './plan.ts'
import { clouds, describeFaults, repeatWith, runSeeds, type Sum } from './seeds.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seeds: { type: 'string', default: '300' },
    seed: { type: 'string', default: '0' },
    http: { type: 'string', default: '0' },
    cloud: { type: 'string' },
    planted: { type: 'boolean', default: false },
    say: { type: 'boolean', default: false },
    'stop-at-fault': { type: 'boolean', default: false },
  },
})

const first = whole('seed', values.seed)
const cloud = values.cloud === undefined ? undefined : known(values.cloud)
const say = values.say ? { say: (line: string) => process.stdout.write(`${line}\n`) } : {}
let failed = 0

if (values.planted) failed += await runPlanted(positionals, (line) => console.log(line))
else {
  await batch('model', whole('seeds', values.seeds), false)
  await batch('HTTP, real SDK clients', whole('http', values.http), true)
}
process.exitCode = failed > 0 ? 1 : 0

async function batch(name: string, count: number, http: boolean): Promise<void> {
  if (count === 0) return
  let done = 0
  const sum = await runSeeds(
    Array.from({ length: count }, (_, index) => first + index),
    {
      cloud,
      http,
      ...say,
      stop_at_fault: values['stop-at-fault'],
      told: (result) => {
        if (result.faults.size > 0)
          console.log(`seed ${result.seed} (${result.cloud}) FAILED\n${describeFaults(result.faults)}\n  again: ${repeatWith(result.seed, result.cloud, http)}`)
        if (++done % 500 === 0) console.error(`${done} of ${count}`)
      },
    },
  )
  failed += sum.failed.length
  console.log(`${name}: ${report(sum)}`)
}

function report(sum: Sum): string {
  const { seeds, records, events, lost, twice, published, lives, steps, virtual_days, ms, failed } = sum
  return (
    `${seeds} seeds, ${records} records, ${events} requests, ${lost} lost, ${twice} counted twice, published ${(published / Math.max(1, events)).toFixed(3)} x, ` +
    `${lives} processes, ${steps} steps, ${Math.round(virtual_days)} virtual days in ${(ms / 1000).toFixed(1)} s; ${failed.length} seeds failed${ages(sum)}`
  )
}

function whole(name: string, text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new Error(`--${name} wants a whole number`)
  return Number(text)
}

function known(text: string): Cloud {
  const found = clouds.find((name) => name === text)
  if (found === undefined) throw new Error(`--cloud is one of ${clouds.join(', ')}`)
  return found
}

/** How old a record was when it was collected, where nothing went wrong. */
function ages(sum: Sum): string {
  return [...sum.ages].map(([tier, list]) => `\n  ${tier}: ${list.length} records, p50 ${seconds(list, 0.5)} s, p99 ${seconds(list, 0.99)} s`).join('')
}

function seconds(list: readonly number[], share: number): string {
  return ((list[Math.min(list.length - 1, Math.floor(list.length * share))] ?? 0) / 1000).toFixed(1)
}
