/** Small tools of the bus contract. */
import { type ChildProcess, spawn } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { onTestFinished } from 'vitest'
import type { Batch, Bus, Consumer, ConsumeOptions, Partition } from '../../bus/bus.ts'
import { systemClock } from '../../runtime/clock.ts'
import type { UsageEvent } from '../../schemas/usage.ts'
import type { BusHarness, MakeHarness } from './bus.ts'
import type { ChildTask } from './bus-child.ts'

export type UsageBatch = Batch<'usage.v1'>

/** Waits until the condition holds; says what it waited for when it does not. */
export async function until(what: string, condition: () => boolean | Promise<boolean>, limit_ms = 40_000): Promise<void> {
  const limit = systemClock.now() + limit_ms
  while (!(await condition())) {
    if (systemClock.now() > limit) throw new Error(`waited ${limit_ms} ms in vain: ${what}`)
    await systemClock.sleep(20)
  }
}

/** A harness that is removed when the test ends. */
export async function harnessFor(makeHarness: MakeHarness, options: Parameters<MakeHarness>[0] = {}): Promise<BusHarness> {
  const harness = await makeHarness(options)
  onTestFinished(() => harness.remove())
  return harness
}

export interface Running {
  batches: UsageBatch[]
  /** Values of `input_tokens` per key, in the order of arrival. */
  orders(): Map<string, number[]>
  records(): UsageEvent[]
  assigned: Partition[]
  revoked: Partition[]
  /** Aborts and waits for the end of consume(). */
  stop(): Promise<void>
  ended: Promise<void>
}

/** Consumes usage.v1 and keeps what was handled. */
export function consuming(bus: Bus, group: string, over: Partial<Consumer<'usage.v1'>> = {}, options: ConsumeOptions = {}): Running {
  const controller = new AbortController()
  const running: Running = {
    batches: [],
    records: () => running.batches.flatMap(({ records }) => records),
    orders: () => {
      const orders = new Map<string, number[]>()
      for (const { api_key_id, input_tokens } of running.records()) orders.set(api_key_id ?? '', [...(orders.get(api_key_id ?? '') ?? []), input_tokens ?? -1])
      return orders
    },
    assigned: [],
    revoked: [],
    stop: async () => {
      controller.abort()
      await running.ended
    },
    ended: Promise.resolve(),
  }
  const consumer: Consumer<'usage.v1'> = {
    assigned: async (partitions) => {
      running.assigned.push(...partitions)
      return over.assigned?.(partitions)
    },
    revoked: async (partitions) => {
      running.revoked.push(...partitions)
      await over.revoked?.(partitions)
    },
    skipped: async (to) => over.skipped?.(to),
    handle: async (batch, signal) => {
      await over.handle?.(batch, signal)
      running.batches.push(batch)
    },
  }
  running.ended = bus.consume(['usage.v1'], group, consumer, controller.signal, options)
  running.ended.catch(() => {})
  onTestFinished(() => running.stop().catch(() => {}))
  return running
}

export interface Child {
  lines: Record<string, unknown>[]
  process: ChildProcess
  exited: Promise<number | null>
}

export function startChild(harness: BusHarness, task: Omit<ChildTask, 'config' | 'data_dir'>): Child {
  const started = spawn(process.execPath, [join(import.meta.dirname, 'bus-child.ts'), JSON.stringify({ ...harness.child, ...task })], { stdio: ['pipe', 'pipe', 'inherit'] })
  const exited = new Promise<number | null>((resolve) => started.on('exit', resolve))
  const child: Child = { lines: [], process: started, exited }
  createInterface({ input: started.stdout }).on('line', (line) => child.lines.push(JSON.parse(line) as Record<string, unknown>))
  onTestFinished(() => void started.kill('SIGKILL'))
  return child
}

/** Keys of which each of the six partitions has at least one. */
export const KEYS = Array.from({ length: 24 }, (_, n) => `fp_${n}`)

export const upTo = (count: number): number[] => Array.from({ length: count }, (_, n) => n)
