/** Prometheus metrics (prom-client). The loops are instrumented here, plugins are not. Names: tokenwatch_<what>_<unit>. */
import { Counter, Gauge, Histogram, Registry } from 'prom-client'

/** One registry a process; `/metrics` prints it. */
export const registry = new Registry()

export const counter = <L extends string>(name: `tokenwatch_${string}`, help: string, labels: readonly L[] = []): Counter<L> =>
  new Counter({ name, help, labelNames: labels, registers: [registry] })

export const gauge = <L extends string>(name: `tokenwatch_${string}`, help: string, labels: readonly L[] = []): Gauge<L> =>
  new Gauge({ name, help, labelNames: labels, registers: [registry] })

export const histogram = <L extends string>(name: `tokenwatch_${string}`, help: string, labels: readonly L[], buckets: readonly number[]): Histogram<L> =>
  new Histogram({ name, help, labelNames: labels, buckets: [...buckets], registers: [registry] })
