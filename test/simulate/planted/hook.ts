/**
 * Preloaded into a process of its own: one file of the shipped code is changed while it is loaded, nothing on the disk is.
 * TOKENWATCH_PLANT: a plant as JSON.
 */
import { readFileSync } from 'node:fs'
import { registerHooks } from 'node:module'
import { fileURLToPath } from 'node:url'
import { type Plant, plantInto } from './plant.ts'

const plant = JSON.parse(process.env['TOKENWATCH_PLANT'] ?? 'null') as Plant | null
if (plant === null) throw new Error('TOKENWATCH_PLANT is not set')
const target = new URL(`../../../${plant.file}`, import.meta.url).href

registerHooks({
  load: (url, context, next) => {
    if (url !== target) return next(url, context)
    return { format: 'module-typescript', source: plantInto(readFileSync(fileURLToPath(url), 'utf8'), plant), shortCircuit: true }
  },
})
