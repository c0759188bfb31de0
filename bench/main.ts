/**
 * npm run bench [-- --events 200000] [--lines 200000] [--bus embedded,kafka] [--only a,b,idle,steps]
 * npm run bench -- --only memory --lines 5000000: the collector's memory over that many lines (three minutes, 1 GB of disk)
 * Shipped processes with shipped config, on this machine, now. Lane A is a ratio against ClickHouse's own Kafka engine in the
 * same run; the other figures are for comparison between versions on one machine, never limits of a test.
 */
import { availableParallelism, loadavg } from 'node:os'
import { parseArgs } from 'node:util'
import { idleCpu } from './idle.ts'
import { laneA } from './lane-a.ts'
import { laneB } from './lane-b.ts'
import { collectorMemory } from './memory.ts'
import { steps } from './steps.ts'

const { values } = parseArgs({
  options: {
    events: { type: 'string', default: '200000' },
    lines: { type: 'string', default: '200000' },
    bus: { type: 'string', default: 'embedded' },
    only: { type: 'string', default: 'a,b,idle,steps' },
  },
})
const only = values.only.split(',')
// What else the machine did is part of the figures: above its CPUs, events per second say little and only ratios hold.
const report: Record<string, unknown> = { node: process.version, cpus: availableParallelism(), load_before: loadavg()[0] }

if (only.includes('a')) report['lane_a'] = await laneA(Number(values.events))
if (only.includes('steps')) report['steps_us_per_event'] = await steps()
if (only.includes('b')) report['lane_b'] = await laneB(Number(values.lines), values.bus.split(','))
if (only.includes('memory')) report['collector_memory'] = await collectorMemory(Number(values.lines))
if (only.includes('idle')) report['idle'] = await idleCpu()
report['load_after'] = loadavg()[0]
process.stdout.write(`${JSON.stringify(report, null, 2)}\n`)
process.exit(0)
