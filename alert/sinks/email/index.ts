/**
 * Mail. "Accepted" means that the server took the message, not that somebody read it. A server cannot deduplicate, but the
 * Message-ID comes from the notification: a repetition after a crash is the same message to mail programs and archives.
 */
import { createTransport } from 'nodemailer'
import { z } from 'zod'
import { messageOf } from '../../../runtime/errors.ts'
import { nameUuid } from '../../../runtime/ids.ts'
import { resolveSecret, secretRef } from '../../../runtime/secrets.ts'
import { plainText } from '../../../runtime/text.ts'
import { alertDocument } from '../../render/document.ts'
import { htmlOf } from '../../render/html.ts'
import { textOf } from '../../render/text.ts'
import type { AlertSink, Notification, Receipt, SinkSpec } from '../../sink.ts'

/** One plain address: nodemailer splits lists inside a string, so a string never reaches it. */
const address = z.email()
const mailbox = z.union([address, z.strictObject({ name: z.string().max(200), address })])

export const emailConfig = z
  .strictObject({
    kind: z.literal('email'),
    host: z.string().min(1).describe('SMTP server'),
    port: z.int().min(1).max(65_535).default(587),
    tls: z.enum(['starttls', 'implicit', 'none']).default('starttls').describe('none: only for a relay on this machine or in a closed network'),
    ca_file: z.string().optional().describe('certificate authority of the server, PEM, where the system does not know it'),
    username: z.string().optional(),
    password: secretRef.optional(),
    from: mailbox.describe('sender'),
    to: z.array(mailbox).min(1).max(50).describe('recipients'),
    message_id_domain: z
      .string()
      .regex(/^[a-z0-9.-]+$/i)
      .optional()
      .describe("right side of Message-ID; default: the sender's domain"),
  })
  .describe('Mail through an SMTP server')
export type EmailConfig = z.infer<typeof emailConfig>

export const emailSink: SinkSpec<EmailConfig> = {
  id: 'email',
  summary: 'Mail through an SMTP server: text and HTML, one thread per alert, Message-ID stable over attempts.',
  config: emailConfig,
  example: { kind: 'email', host: 'smtp.example.com', from: 'tokenwatch@example.com', to: ['soc@example.com'], username: 'tokenwatch', password: { env: 'SMTP_PASSWORD' } },
  create: (config, context): AlertSink => {
    const transport = transportFor(config)
    // Who has a message already, while the server puts off others: a second copy for each of their tries would be noise.
    const served = new Map<string, Set<string>>()
    return {
      send: async (notification, signal) => {
        const { notification_id } = notification
        const message = messageFor(notification, config, context.console_url)
        const have = served.get(notification_id) ?? new Set<string>()
        const envelope = { from: message.from.address, to: message.to.map(({ address }) => address).filter((address) => !have.has(address)) }
        try {
          const sent = await transport.sendMail({ ...message, envelope, signal })
          const receipt = receiptOf(sent, message.to.length)
          served.delete(notification_id)
          if (receipt.outcome === 'retry') remember(served, notification_id, new Set([...have, ...addressesOf(sent.accepted)]))
          return receipt
        } catch (error) {
          return failureOf(error, signal)
        }
      },
      probe: async () => {
        await transport.verify()
      },
      close: async () => transport.close(),
    }
  },
}

function transportFor(config: EmailConfig) {
  const { username, password } = config
  return createTransport({
    host: config.host,
    port: config.port,
    secure: config.tls === 'implicit',
    requireTLS: config.tls === 'starttls',
    ignoreTLS: config.tls === 'none',
    tls: { minVersion: 'TLSv1.2', ...(config.ca_file === undefined ? {} : { ca: resolveSecret({ file: config.ca_file }) }) },
    ...(username === undefined || password === undefined ? {} : { auth: { user: username, pass: resolveSecret(password) } }),
    disableFileAccess: true,
    disableUrlAccess: true,
    maxRecipients: 50,
    connectionTimeout: 10_000,
    greetingTimeout: 10_000,
    socketTimeout: 30_000,
    dnsTimeout: 10_000,
    debug: false,
    logger: false,
  })
}

/** Exported for the tests: what goes to the transport. */
export function messageFor(notification: Notification, config: EmailConfig, consoleUrl: string | null) {
  const document = alertDocument(notification, consoleUrl)
  const from = person(config.from)
  const domain = config.message_id_domain ?? from.address.split('@').at(-1) ?? 'tokenwatch.invalid'
  const { alert_id } = notification.alert
  // The first notification of an alert is always `firing`, so its id is known without remembering it.
  const first = `<${nameUuid(alert_id, 'firing', '')}@${domain}>`
  const own = `<${notification.notification_id}@${domain}>`
  return {
    from,
    to: config.to.map(person),
    subject: document.subject,
    messageId: own,
    ...(own === first ? {} : { inReplyTo: first, references: [first] }),
    text: textOf(document),
    html: htmlOf(document),
    attachDataUrls: false,
    headers: { 'Auto-Submitted': 'auto-generated', 'X-Auto-Response-Suppress': 'All' },
    list: { id: { url: `alerts.${domain}`, comment: 'Tokenwatch alerts' } },
    disableFileAccess: true,
    disableUrlAccess: true,
  }
}

const person = (entry: z.infer<typeof mailbox>): { name: string; address: string } =>
  typeof entry === 'string' ? { name: '', address: entry } : { name: plainText(entry.name, 200), address: entry.address }

/** Messages that are put off at the same time; the oldest are forgotten, which costs a second copy. */
const MOST_SERVED = 1_000

function remember(served: Map<string, Set<string>>, id: string, addresses: Set<string>): void {
  served.set(id, addresses)
  for (const oldest of served.keys()) {
    if (served.size <= MOST_SERVED) return
    served.delete(oldest)
  }
}

interface Sent {
  response?: string | undefined
  accepted?: unknown[] | undefined
  rejected?: unknown[] | undefined
  rejectedErrors?: { responseCode?: number | undefined }[] | undefined
}

/** Greylisting and full mailboxes are told for each recipient: who was put off must not be left out because others were served. */
function receiptOf(sent: Sent, recipients: number): Receipt {
  const refused = sent.rejected?.length ?? 0
  const receipt = plainText(sent.response ?? 'accepted', 500)
  if (refused === 0) return { outcome: 'accepted', receipt }
  const later = (sent.rejectedErrors ?? []).filter(({ responseCode = 0 }) => responseCode >= 400 && responseCode < 500).length
  if (later > 0) return { outcome: 'retry', error: `the server put off ${later} of ${recipients} recipients` }
  return { outcome: 'accepted', receipt, error: `the server refused ${refused} of ${recipients} recipients` }
}

const addressesOf = (list: unknown[] | undefined): string[] => (list ?? []).filter((entry) => typeof entry === 'string')

/** What nodemailer throws: SMTP answers carry responseCode; `command` says how far the dialogue came. */
interface SmtpFailure {
  code?: unknown
  command?: unknown
  responseCode?: unknown
}

function failureOf(error: unknown, signal: AbortSignal): Receipt {
  const { code, command, responseCode } = error as SmtpFailure
  const text = plainText(messageOf(error), 500)
  if (typeof responseCode === 'number') {
    if (responseCode >= 400 && responseCode < 500) return { outcome: 'retry', error: text }
    // A password that was rotated is put right by a person; until then the mail waits.
    if (code === 'EAUTH') return { outcome: 'retry', error: `the server refused the login: ${text}` }
    return { outcome: 'permanent', error: text }
  }
  if (signal.aborted) return { outcome: 'unknown', error: 'no answer from the mail server in time' }
  // After DATA the server may have taken the message without the answer reaching us.
  if (command === 'DATA') return { outcome: 'unknown', error: text }
  if (code === 'EENVELOPE' || code === 'EMESSAGE') return { outcome: 'permanent', error: text }
  return { outcome: 'retry', error: text }
}
