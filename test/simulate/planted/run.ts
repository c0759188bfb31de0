/** Runs seeds with one planted bug after another, each in a process of its own, and says after how many seeds it was caught. */
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Plant } from './plant.ts'
import { plants } from './plants.ts'

export interface Caught {
  plant: Plant
  /** Seeds until the first fault; null: not caught. */
  after: number | null
  /** Kinds of fault, or what the process said when it could not run. */
  by: string
}

/** Returns how many were not caught. No ids: all of them. */
export async function runPlanted(ids: readonly string[], say: (line: string) => void): Promise<number> {
  const unknown = ids.filter((id) => !plants.some((plant) => plant.id === id))
  if (unknown.length > 0) throw new Error(`no such plant: ${unknown.join(', ')}`)
  let missed = 0
  for (const plant of plants.filter(({ id }) => ids.length === 0 || ids.includes(id))) {
    const { after, by } = await tryPlant(plant)
    say(
      `${plant.id}: ${after === null ? `NOT CAUGHT in ${plant.within} seeds: ${by}` : `caught by ${by} after ${after} seed${after === 1 ? '' : 's'}`}${plant.after === null ? '' : ` (${plant.after})`}`,
    )
    if (after === null) missed++
  }
  return missed
}

export async function tryPlant(plant: Plant): Promise<Caught> {
  const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url))
  const { code, out } = await runNode(['--import', here('./hook.ts'), here('./child.ts')], { ...process.env, TOKENWATCH_PLANT: JSON.stringify(plant) })
  const line = out.split('\n').find((text) => text.startsWith('{"seeds":'))
  if (line === undefined) return { plant, after: null, by: `the process ended with ${code}: ${out.slice(-2_000)}` }
  const { seeds, by } = JSON.parse(line) as { seeds: number; by: string[] }
  return { plant, after: by.length === 0 ? null : seeds, by: by.length === 0 ? 'nothing was wrong' : by.join(', ') }
}

function runNode(args: readonly string[], env: NodeJS.ProcessEnv): Promise<{ code: number | null; out: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { env, stdio: ['ignore', 'pipe', 'pipe'] })
    let out = ''
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text: string) => (out += text))
    child.on('error', reject)
    child.on('close', (code) => resolve({ code, out }))
  })
}
