# syntax=docker/dockerfile:1
# Two stages: compile with everything, ship only what runs. Debian, because the embedded engine needs glibc.
FROM node:24.21.0-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci
COPY . .
RUN npm run build

FROM node:24.21.0-bookworm-slim
ENV NODE_ENV=production
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --omit=dev && npm cache clean --force
COPY --from=build /app/dist ./dist
COPY bin ./bin
COPY LICENSE ./
# The image's own user, uid 1000; the only place it writes is the volume.
RUN mkdir -p /var/lib/tokenwatch && chown node:node /var/lib/tokenwatch
USER node
VOLUME /var/lib/tokenwatch
EXPOSE 8787
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=6 \
  CMD ["node", "-e", "fetch('http://127.0.0.1:8787/readyz').then((answer) => process.exit(answer.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["node", "bin/tokenwatch.js"]
CMD ["start", "--config", "/etc/tokenwatch/tokenwatch.yaml"]
