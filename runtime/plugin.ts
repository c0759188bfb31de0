/** What every plugin declares, so that config, docs and metrics derive from one place. */
import type { ZodType } from 'zod'

/** id = folder = config value = metric label. `example` must satisfy `config` (a test checks it). */
export interface PluginSpec<C> {
  id: string
  summary: string
  config: ZodType<C>
  example: unknown
}
