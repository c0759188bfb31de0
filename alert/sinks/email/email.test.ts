import { describe, expect, it } from 'vitest'
import { notificationOf } from '../../../test/contract/sink.ts'
import { startSmtp, type SmtpReceiverOptions, testCertFile } from '../../../test/support/smtp.ts'
import { nameUuid } from '../../../runtime/ids.ts'
import { systemClock } from '../../../runtime/clock.ts'
import { silentLogger } from '../../../runtime/log.ts'
import type { Notification } from '../../sink.ts'
import { emailConfig, emailSink } from './index.ts'

const never = new AbortController().signal

async function sendTo(options: SmtpReceiverOptions, config: Record<string, unknown>, ...notifications: Notification[]) {
  const smtp = await startSmtp(options)
  process.env['TEST_MAIL_PASSWORD'] = 'right'
  const sink = emailSink.create(emailConfig.parse({ kind: 'email', host: 'localhost', port: smtp.port, from: 'tw@example.com', to: ['soc@example.com'], ...config }), {
    clock: systemClock,
    log: silentLogger,
    console_url: 'https://console.example.com/',
  })
  try {
    const receipts = []
    for (const notification of notifications) receipts.push(await sink.send(notification, never))
    return { receipts, mails: smtp.mails }
  } finally {
    await sink.close?.()
    await smtp.close()
    delete process.env['TEST_MAIL_PASSWORD']
  }
}

describe('transport', () => {
  const login = { user: 'tw', password: 'right' }
  const credentials = { username: 'tw', password: { env: 'TEST_MAIL_PASSWORD' } }

  it('signs in over STARTTLS and over TLS from the first byte', async () => {
    for (const tls of ['starttls', 'implicit'] as const) {
      const { receipts, mails } = await sendTo({ tls, login }, { tls, ca_file: testCertFile, ...credentials }, notificationOf())
      expect(receipts[0]).toMatchObject({ outcome: 'accepted' })
      expect(receipts[0]?.receipt).toContain('queued as test-1')
      expect(mails[0]).toMatchObject({ secure: true, user: 'tw', from: 'tw@example.com', to: ['soc@example.com'] })
    }
  })

  it('never falls back to plain text, and never trusts a certificate it does not know', async () => {
    const plain = await sendTo({ tls: 'plain' }, { tls: 'starttls' }, notificationOf())
    expect(plain.receipts[0]?.outcome).not.toBe('accepted')
    expect(plain.mails).toEqual([])
    const unknown = await sendTo({ tls: 'starttls' }, { tls: 'starttls' }, notificationOf())
    expect(unknown.receipts[0]?.outcome).not.toBe('accepted')
    expect(unknown.mails).toEqual([])
  })

  it('waits when the password is wrong: a person puts that right', async () => {
    const { receipts } = await sendTo({ tls: 'plain', login: { ...login, password: 'other' } }, { tls: 'none', ...credentials }, notificationOf())
    expect(receipts[0]).toMatchObject({ outcome: 'retry' })
    expect(receipts[0]?.error).toContain('login')
    expect(receipts[0]?.error).not.toContain('right')
  })

  it('says which recipients were refused', async () => {
    const { receipts, mails } = await sendTo({ tls: 'plain', refuseRecipient: 'gone@example.com' }, { tls: 'none', to: ['soc@example.com', 'gone@example.com'] }, notificationOf())
    expect(receipts[0]).toMatchObject({ outcome: 'accepted', error: 'the server refused 1 of 2 recipients' })
    expect(mails[0]?.to).toEqual(['soc@example.com'])
  })

  it('tries again for a recipient who was put off, and sends no second copy to the others', async () => {
    const smtp = await startSmtp()
    const [soc, cto, gone] = ['soc@example.com', 'cto@example.com', 'gone@example.com']
    const sink = emailSink.create(emailConfig.parse({ kind: 'email', host: '127.0.0.1', port: smtp.port, tls: 'none', from: 'tw@example.com', to: [soc, cto, gone] }), {
      clock: systemClock,
      log: silentLogger,
      console_url: null,
    })
    try {
      const notification = notificationOf()
      const send = () => sink.send(notification, never)
      smtp.putOff = new Set([soc, gone])
      expect(await send()).toMatchObject({ outcome: 'retry', error: 'the server put off 2 of 3 recipients' })
      expect(await send(), 'all that are left').toMatchObject({ outcome: 'retry' })
      smtp.putOff = new Set([gone])
      expect(await send()).toMatchObject({ outcome: 'retry', error: 'the server put off 1 of 3 recipients' })
      smtp.putOff = new Set()
      expect(await send()).toMatchObject({ outcome: 'accepted' })
      expect(smtp.mails.map(({ to }) => to)).toEqual([[cto], [soc], [gone]])
      expect(new Set(smtp.mails.map(({ mail }) => mail.messageId)).size).toBe(1)
      expect(smtp.mails.map(({ raw }) => /^To: .*soc@example\.com.*cto@example\.com/m.test(raw))).toEqual([true, true, true])
      expect((await sink.send(notificationOf({}), never)).outcome).toBe('accepted')
      expect(smtp.mails.at(-1)?.to).toEqual([soc, cto, gone])
    } finally {
      await sink.close?.()
      await smtp.close()
    }
  })

  it('is away: try later', async () => {
    const smtp = await startSmtp()
    await smtp.close()
    const sink = emailSink.create(emailConfig.parse({ kind: 'email', host: '127.0.0.1', port: smtp.port, tls: 'none', from: 'tw@example.com', to: ['soc@example.com'] }), {
      clock: systemClock,
      log: silentLogger,
      console_url: null,
    })
    expect((await sink.send(notificationOf(), never)).outcome).toBe('retry')
  })
})

describe('message', () => {
  it('threads the messages of one alert and says that a program sent it', async () => {
    const firing = notificationOf()
    const resolved: Notification = { ...firing, kind: 'resolved', notification_id: nameUuid(firing.alert.alert_id, 'resolved', ''), sequence: 1 }
    const { mails } = await sendTo({}, { tls: 'none' }, firing, resolved)
    const [first, second] = mails.map(({ mail }) => mail)
    expect(first?.messageId).toBe(`<${firing.notification_id}@example.com>`)
    expect(first?.references).toBeUndefined()
    expect(second?.inReplyTo).toBe(first?.messageId)
    expect(second?.references).toBe(first?.messageId)
    expect(second?.subject).toBe(first?.subject)
    expect(first?.headers.get('auto-submitted')).toBe('auto-generated')
    expect(first?.text).toContain(`tokenwatch alerts show ${firing.alert.alert_id}`)
    expect(first?.text).toContain('https://console.example.com/alerts/')
    expect(first?.html).toContain('What to do next')
  })

  it('refuses a list of addresses inside one, and lines inside a name', () => {
    const parse = (to: unknown) => emailConfig.safeParse({ kind: 'email', host: 'h', from: 'tw@example.com', to: [to] }).success
    expect(parse('Team <b@example.com, c@example.com>')).toBe(false)
    expect(parse('b@example.com\r\nBcc: c@example.com')).toBe(false)
    expect(parse({ name: 'Team', address: 'b@example.com' })).toBe(true)
  })
})
