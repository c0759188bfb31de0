/** What every responder must do, on a real other side. */
import { expect, it } from 'vitest'
import type { Responder, Rung } from '../../alert/responder.ts'
import { nameUuid } from '../../runtime/ids.ts'
import type { Command } from '../../schemas/commands.ts'
import type { Target } from '../../schemas/responses.ts'
import { NOON } from '../support/alert-fixtures.ts'

export interface ResponderWorld {
  responder: Responder
  target: Target
  /** Ids under which the other side was asked to act. */
  acted: () => Promise<string[]>
  /** Ids under which it was asked to take it back. */
  undone: () => Promise<string[]>
  refuse?: () => void
  swallow?: () => void
  secrets: string[]
  close(): Promise<void>
}

export const commandFor = (target: Target, change: Partial<Command> = {}): Command => ({
  command_id: nameUuid('command', target.id),
  alert_id: nameUuid('alert', target.id),
  action: 'disable-key',
  target,
  reason: 'token-spike',
  evidence_url: null,
  dry_run: false,
  expires_at: NOON + 900_000,
  issued_at: NOON,
  ...change,
})

export function responderContract(open: () => Promise<ResponderWorld>): void {
  const never = new AbortController().signal
  const inWorld = (work: (world: ResponderWorld, rung: Rung, command: Command) => Promise<void>) => async () => {
    const world = await open()
    try {
      const [rung] = await world.responder.plan(world.target, never)
      if (rung === undefined) throw new Error('the responder plans nothing for its own target')
      await work(world, rung, commandFor(world.target))
    } finally {
      await world.close()
    }
  }

  it(
    'acts once for one command, under the id of the command, and takes it back',
    inWorld(async ({ responder, acted, undone }, rung, command) => {
      const receipt = await responder.execute(rung, command, never)
      expect(receipt.outcome).toBe('executed')
      expect(await acted()).toEqual([command.command_id])
      expect(['contained', 'unknown']).toContain(await responder.read_back(rung, never))
      const back = await responder.undo(rung, receipt, never)
      expect(back.outcome).toBe('executed')
      expect(await undone()).toHaveLength(1)
      expect(await undone()).not.toContain(command.command_id)
    }),
  )

  it(
    'says refused when nothing was done, and shows no secret',
    inWorld(async ({ responder, refuse, secrets }, rung, command) => {
      if (refuse === undefined) return
      refuse()
      const receipt = await responder.execute(rung, command, never)
      expect(receipt.outcome).toBe('refused')
      for (const secret of secrets) expect(JSON.stringify(receipt)).not.toContain(secret)
    }),
  )

  it(
    'says unknown when no answer came',
    inWorld(async ({ responder, swallow, secrets }, rung, command) => {
      if (swallow === undefined) return
      swallow()
      const receipt = await responder.execute(rung, command, AbortSignal.timeout(300))
      expect(receipt.outcome).toBe('unknown')
      for (const secret of secrets) expect(JSON.stringify(receipt)).not.toContain(secret)
    }),
  )
}
