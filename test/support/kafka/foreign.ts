/** A client that is not ours on the same Kafka: writes what our bus would never write, changes settings of topics. */
import kafkajs from 'kafkajs'

export interface ForeignRecord {
  value: string | null
  key?: string
  headers?: Record<string, string>
}

const connect = (brokers: readonly string[]) => new kafkajs.Kafka({ brokers: [...brokers], clientId: 'foreign', logLevel: kafkajs.logLevel.NOTHING })

export async function writeForeign(
  brokers: readonly string[],
  topic: string,
  partition: number,
  records: readonly ForeignRecord[],
  compression: 'None' | 'GZIP' | 'Snappy' = 'None',
): Promise<void> {
  const producer = connect(brokers).producer({ allowAutoTopicCreation: false, createPartitioner: kafkajs.Partitioners.DefaultPartitioner })
  await producer.connect()
  try {
    await producer.send({
      topic,
      compression: kafkajs.CompressionTypes[compression],
      messages: records.map(({ value, key, headers }) => ({ value, partition, key: key ?? null, ...(headers === undefined ? {} : { headers }) })),
    })
  } finally {
    await producer.disconnect()
  }
}

export async function alterTopic(brokers: readonly string[], topic: string, settings: Readonly<Record<string, string>>): Promise<void> {
  const admin = connect(brokers).admin()
  await admin.connect()
  try {
    const configEntries = Object.entries(settings).map(([name, value]) => ({ name, value }))
    await admin.alterConfigs({ validateOnly: false, resources: [{ type: kafkajs.ConfigResourceTypes.TOPIC, name: topic, configEntries }] })
  } finally {
    await admin.disconnect()
  }
}

/** Lets the foreign client write snappy (as one literal, in the framing of the Java client); call it before our bus is made, which forbids it again. */
export function allowSnappy(): void {
  kafkajs.CompressionCodecs[kafkajs.CompressionTypes.Snappy] = () => ({
    compress: ({ buffer }: { buffer: Buffer }) => {
      const size = Buffer.from([(buffer.length & 0x7f) | 0x80, ((buffer.length >> 7) & 0x7f) | 0x80, buffer.length >> 14])
      const literal = Buffer.from([61 << 2, (buffer.length - 1) & 0xff, (buffer.length - 1) >> 8])
      const block = Buffer.concat([size, literal, buffer])
      const header = Buffer.from('82534e4150505900000000010000000100000000', 'hex')
      header.writeUInt32BE(block.length, 16)
      return Buffer.concat([header, block])
    },
  })
}

/** Settings of a topic as the broker has them, and its number of partitions. */
export async function describeTopic(brokers: readonly string[], topic: string): Promise<{ settings: Record<string, string>; partitions: number }> {
  const admin = connect(brokers).admin()
  await admin.connect()
  try {
    const { resources } = await admin.describeConfigs({ includeSynonyms: false, resources: [{ type: kafkajs.ConfigResourceTypes.TOPIC, name: topic }] })
    const { topics } = await admin.fetchTopicMetadata({ topics: [topic] })
    const entries = resources[0]?.configEntries ?? []
    return { settings: Object.fromEntries(entries.map(({ configName, configValue }) => [configName, configValue])), partitions: topics[0]?.partitions.length ?? 0 }
  } finally {
    await admin.disconnect()
  }
}
