/** The process that has the bug: seeds until one fails. Prints one line of JSON. */
import { runSeeds } from '../seeds.ts'
import type { Plant } from './plant.ts'

const plant = JSON.parse(process.env['TOKENWATCH_PLANT'] ?? '') as Plant
const seeds = Array.from({ length: plant.within }, (_, index) => index)
const { seeds: count, failed } = await runSeeds(seeds, { cloud: plant.cloud, stop_at_fault: true })
process.stdout.write(`${JSON.stringify({ seeds: count, by: [...(failed[0]?.faults.keys() ?? [])] })}\n`)
