import { expect, it } from 'vitest'
import { append, emptyLedger } from '../alert/chain.ts'
import { lineOf } from '../alert/render/line.ts'
import { nameUuid } from '../runtime/ids.ts'
import { CANARY, hostileNotification, notificationOf } from '../test/contract/sink.ts'
import { alertText } from './alerts.ts'
import { table } from './program.ts'

// What a terminal would act on. Line feeds are ours.
// oxlint-disable-next-line no-control-regex
const COMMANDS = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069\u2028\u2029]/

it('an alert is shown whole: facts, who has it, evidence, proposal, what to do next', () => {
  const { alert } = notificationOf()
  const text = alertText({ ...alert, acked_by: 'ana' }, null, 'https://c.example.com')
  for (const part of [
    'high token-spike',
    '$12.50',
    'Taken by',
    'ana',
    'models',
    'gpt-4o',
    `npx tokenwatch alerts ack ${alert.alert_id}`,
    `https://c.example.com/alerts/${alert.alert_id}`,
  ])
    expect(text).toContain(part)
  expect(text).not.toContain('alerts show')
})

it('nothing that is shown can move the cursor or turn the text around', () => {
  expect(alertText(hostileNotification().alert, null, null)).not.toMatch(COMMANDS)
  expect(table(['name'], [[CANARY]])).not.toMatch(COMMANDS)
})

it('a proposal stands beside its alert, not beside the end of it', () => {
  const proposal = append(emptyLedger(), {
    response_id: nameUuid('line'),
    alert_id: nameUuid('line', 'alert'),
    step: 'proposed',
    at: 1,
    who: 'policy',
    why: null,
    action: 'disable-key',
    target: { kind: 'api-key', id: 'fp_1', provider: 'openai' },
    dry_run: true,
    policy: 'dry-run',
    expires_at: null,
    command_id: null,
    responder: null,
    blast_radius: null,
    detail: null,
  })
  expect(lineOf(notificationOf({}, 'firing', proposal), false)).toContain('proposal: disable-key api-key fp_1 (openai), dry-run')
  expect(lineOf(notificationOf({}, 'resolved', proposal), false)).not.toContain('proposal')
})

it('a cost that is not known is said to be so, not given as a rate', () => {
  expect(lineOf(notificationOf(), false)).toContain('  $12.50/min\n')
  expect(lineOf(notificationOf({ spend_usd_per_minute: null, spend_usd: null }), false)).toContain('  cost unknown\n')
})
