/** A real SMTP server on 127.0.0.1 that keeps what it takes and misbehaves on demand. The key pair in tls/ is for tests only. */
import { readFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { type ParsedMail, simpleParser } from 'mailparser'
import { SMTPServer } from 'smtp-server'

export const testCertFile = fileURLToPath(new URL('tls/localhost.cert.pem', import.meta.url))
export const testKeyFile = fileURLToPath(new URL('tls/localhost.key.pem', import.meta.url))

export interface ReceivedMail {
  from: string
  to: string[]
  secure: boolean
  user: string | undefined
  raw: string
  mail: ParsedMail
}

export interface SmtpReceiver {
  port: number
  mails: ReceivedMail[]
  /** Answer to the next messages instead of taking them: an SMTP code, or `stall`: take it and never answer. */
  refuse: number | 'stall' | null
  /** These recipients are put off (450). */
  putOff: Set<string>
  close(): Promise<void>
}

export interface SmtpReceiverOptions {
  port?: number
  /** plain: no STARTTLS offered; starttls: offered; implicit: TLS from the first byte. */
  tls?: 'plain' | 'starttls' | 'implicit'
  login?: { user: string; password: string }
  refuseRecipient?: string
}

export async function startSmtp(options: SmtpReceiverOptions = {}): Promise<SmtpReceiver> {
  const { tls = 'plain', login, refuseRecipient } = options
  const receiver: SmtpReceiver = { port: 0, mails: [], refuse: null, putOff: new Set(), close: () => new Promise((resolve) => server.close(() => resolve())) }
  const fail = (code: number, text: string): Error => Object.assign(new Error(text), { responseCode: code })
  const server = new SMTPServer({
    key: readFileSync(testKeyFile),
    cert: readFileSync(testCertFile),
    secure: tls === 'implicit',
    hideSTARTTLS: tls === 'plain',
    authOptional: login === undefined,
    allowInsecureAuth: true,
    disabledCommands: login === undefined ? ['AUTH'] : [],
    closeTimeout: 200,
    logger: false,
    onAuth: (auth, _session, done) => {
      if (auth.username === login?.user && auth.password === login?.password) done(null, { user: auth.username ?? '' })
      else done(fail(535, 'wrong user or password'))
    },
    onRcptTo: ({ address }, _session, done) => {
      if (address === refuseRecipient) return done(fail(550, 'no such mailbox'))
      done(receiver.putOff.has(address) ? fail(450, 'greylisted, come again') : null)
    },
    onData: (stream, session, done) => {
      const parts: Buffer[] = []
      stream.on('data', (part: Buffer) => parts.push(part))
      stream.on('end', () => {
        const { refuse } = receiver
        if (typeof refuse === 'number') return done(fail(refuse, `told to answer ${refuse}`))
        const raw = Buffer.concat(parts).toString('utf8')
        void simpleParser(raw).then((mail) => {
          const { mailFrom, rcptTo } = session.envelope
          receiver.mails.push({
            from: mailFrom === false ? '' : mailFrom.address,
            to: rcptTo.map(({ address }) => address),
            secure: session.secure,
            user: typeof session.user === 'string' ? session.user : undefined,
            raw,
            mail,
          })
          if (refuse !== 'stall') done(null, 'queued as test-1')
        })
      })
    },
  })
  server.on('error', () => {}) // clients that hang up are part of the tests
  await new Promise<void>((resolve) => server.listen(options.port ?? 0, '127.0.0.1', resolve))
  receiver.port = (server.server.address() as AddressInfo).port
  return receiver
}
