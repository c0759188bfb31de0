/** What `check` says of the receivers: whether their tokens can be used, and whether there is an address to listen on. */
import { pathOf, receiverToken } from '../ingest/receivers/index.ts'
import { messageOf, UsageError } from '../runtime/errors.ts'
import { createHttpServer } from '../runtime/http.ts'
import { silentLogger } from '../runtime/log.ts'
import { resolveSecret } from '../runtime/secrets.ts'
import { attempt, type Check } from './check-part.ts'
import type { Context } from './context.ts'

const ANSWER_LIMIT_MS = 2_000

export async function receiverChecks(context: Context): Promise<Check[]> {
  const { receivers } = context.config
  if (receivers.length === 0) return []
  const tokens = receivers.map((receiver) =>
    attempt(`receiver ${receiver.id} (${receiver.kind})`, () => {
      receiverToken(receiver)
      return `has its token and takes POST ${pathOf(receiver)}`
    }),
  )
  return [...(await Promise.all(tokens)), await attempt('address of the receivers', () => addressOf(context))]
}

/** One of the two is enough: which one a process uses depends on its roles. */
async function addressOf(context: Context): Promise<string> {
  const { console: with_console, metrics } = context.config
  const found = [await tryAddress(context, 'console.listen', with_console.listen, 'with the role console')]
  if (metrics.listen === null) found.push({ usable: false, detail: 'metrics.listen is not set: a process without the role console cannot take pushes' })
  else found.push(await tryAddress(context, 'metrics.listen', metrics.listen, 'without the role console'))
  const detail = found.map((one) => one.detail).join('; ')
  if (!found.some(({ usable }) => usable)) throw new UsageError(`nothing can be pushed: ${detail}`)
  return detail
}

/** Listens for a moment. */
async function tryAddress({ config, clock }: Context, name: string, listen: string, when: string): Promise<{ usable: boolean; detail: string }> {
  try {
    const tokens = config.console.token === undefined ? [] : [resolveSecret(config.console.token)]
    const server = await createHttpServer({ listen, tokens, clock, log: silentLogger })
    await server.close()
    return { usable: true, detail: `${name} ${listen} is free (${when})` }
  } catch (error) {
    // Only of an address that is taken: one that is not safe stays so, whoever listens on the same port.
    if (messageOf(error).includes('another process listens there') && (await isTokenwatch(listen)))
      return { usable: true, detail: `${name} ${listen} is held by a running Tokenwatch (${when})` }
    return { usable: false, detail: messageOf(error).replaceAll('console.listen', name) }
  }
}

/** An address that is taken may be taken by us. */
async function isTokenwatch(listen: string): Promise<boolean> {
  try {
    const answer = await fetch(`http://${listen.replace(/^0\.0\.0\.0:|^\[::\]:/, '127.0.0.1:')}/healthz`, { signal: AbortSignal.timeout(ANSWER_LIMIT_MS) })
    return answer.ok && ((await answer.json()) as { alive?: unknown }).alive === true
  } catch {
    return false
  }
}
