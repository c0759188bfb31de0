/** Port of responders: what can be done about a target, done once, read back, undone. The loop owns intents and deadlines. */
import type { PluginSpec } from '../runtime/plugin.ts'
import type { Command } from '../schemas/commands.ts'
import type { Target } from '../schemas/responses.ts'
import type { SinkContext } from './sink.ts'

/** One step of containment. level 1: reversible and narrow; 2: reversible and wide; 3: no way back. */
export interface Rung {
  action: string
  level: 1 | 2 | 3
  target: Target
  undo: 'automatic' | 'manual' | 'none'
  summary: string
}

export interface ResponderReceipt {
  outcome: 'executed' | 'noop' | 'refused' | 'unknown'
  detail: string
  /** What undo() needs; never a secret. */
  undo_token?: string
}

export interface Responder {
  plan(target: Target, signal: AbortSignal): Promise<Rung[]>
  execute(rung: Rung, command: Command, signal: AbortSignal): Promise<ResponderReceipt>
  /** unknown: the responder cannot read the target (a webhook hands the command on). */
  read_back(rung: Rung, signal: AbortSignal): Promise<'contained' | 'active' | 'unknown'>
  undo(rung: Rung, receipt: ResponderReceipt, signal: AbortSignal): Promise<ResponderReceipt>
}

export interface ResponderSpec<C> extends PluginSpec<C> {
  create(config: C, context: SinkContext): Responder
}
