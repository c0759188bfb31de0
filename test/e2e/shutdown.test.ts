/** From a stolen key to a signed shutdown command: proposal, a stranger's approval refused, a named person's approval, one signed call. */
import { appendFileSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { systemClock } from '../../runtime/clock.ts'
import { command } from '../../schemas/commands.ts'
import { eventually, runToEnd, runTokenwatch, type Running } from '../support/process.ts'
import { startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver.ts'
import { chatLine, madeUpKey, refusedLine } from './log-lines.ts'

interface Step {
  response_id: string
  step: string
  dry_run: boolean
  detail: string | null
  target: { kind: string; id: string }
}

describe('a shutdown', () => {
  const directory = mkdtempSync(path.join(tmpdir(), 'tokenwatch-shutdown-'))
  const log_file = path.join(directory, 'app.jsonl')
  const config = path.join(directory, 'shutdown.yaml')
  const run = (...args: string[]) => runToEnd([...args, '--config', config])
  const responses = async () => JSON.parse((await run('responses', 'list', '--json')).stdout) as Step[]
  let running: Running | undefined
  let receiver: WebhookReceiver | undefined

  afterAll(async () => {
    await running?.stop('SIGKILL')
    await receiver?.close()
  })

  it('is proposed, approved by a named person only, and handed on signed and once', { timeout: 120_000 }, async () => {
    receiver = await startWebhookReceiver()
    const secret_file = path.join(directory, 'secret')
    writeFileSync(secret_file, receiver.secret)
    writeFileSync(log_file, '')
    const webhook = { kind: 'webhook', url: receiver.url, secret: { file: secret_file }, internal: { cidrs: ['127.0.0.0/8'], http: true } }
    writeFileSync(
      config,
      JSON.stringify({
        data_dir: path.join(directory, 'data'),
        sources: [{ id: 'app', kind: 'file', paths: [log_file], follow: true }],
        responses: { policy: 'approve', people: ['alice'], responders: { revoker: webhook } },
        console: { listen: '127.0.0.1:0' },
      }),
    )
    running = runTokenwatch(['start', '--config', config])
    const key = madeUpKey('stolen')
    const now = systemClock.now()
    const lines = Array.from({ length: 200 }, (_, n) => chatLine({ id: `s${n}`, at: now, key: madeUpKey(`svc-${n % 5}`) }))
    for (let n = 0; n < 60; n++) lines.push(refusedLine({ id: `x${n}`, at: now, key, n, ip: '185.220.101.9' }))
    appendFileSync(log_file, `${lines.join('\n')}\n`)
    await eventually('the proposal', async () => (await responses()).length > 0)
    const [proposal] = await responses()
    expect(proposal).toMatchObject({ step: 'proposed', dry_run: false, target: { kind: 'api-key' } })
    const id = proposal?.response_id ?? ''

    expect(await run('responses', 'approve', id, '--who', 'mallory')).toMatchObject({
      code: 1,
      stdout: expect.stringContaining('refused, mallory is not in responses.people') as string,
    })
    // Long enough for an approval to be carried out: alice's takes less than a second below.
    await systemClock.sleep(4_000)
    expect(receiver.received).toEqual([])

    expect(await run('responses', 'approve', id, '--who', 'alice', '--why', 'seen in the logs')).toMatchObject({ code: 0, stdout: expect.stringContaining(': approved') as string })
    await eventually('the signed call', () => (receiver?.received.length ?? 0) > 0)
    await systemClock.sleep(2_000)
    expect(receiver.received).toHaveLength(1)
    const call = receiver.received[0]
    expect(call?.verified).toBe(true)
    const sent = command.parse(JSON.parse(call?.body ?? '{}'))
    const fingerprint = (await runToEnd(['fingerprint', '--config', config], { stdin: key })).stdout.trim()
    expect(sent).toMatchObject({ command_id: call?.id, target: { kind: 'api-key', id: fingerprint }, dry_run: false })
    expect(call?.body).not.toContain(key)
    await eventually('the outcome in the books', async () => ['executed', 'unknown', 'verified'].includes((await responses())[0]?.step ?? ''))
    expect(await running.stop()).toBe(0)
  })
})
