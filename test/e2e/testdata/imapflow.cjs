// Logs in, goes into IDLE on INBOX, and prints a line of JSON for everything that it is told and does, until it is
// told on standard input to go on with the next step.
'use strict';
const { ImapFlow } = require('imapflow');
const readline = require('node:readline');
const crypto = require('node:crypto');

const [host, port, user, pass] = process.argv.slice(2);
const say = (event, data = {}) => console.log(JSON.stringify({ event, ...data }));
const hash = buffer => crypto.createHash('sha256').update(buffer).digest('hex');

async function fetchAll(client) {
    for await (const m of client.fetch('1:*', { uid: true, flags: true, envelope: true, bodyStructure: true, source: true, headers: ['subject'] })) {
        say('message', { uid: m.uid, flags: [...m.flags].sort(), subject: m.envelope.subject, type: m.bodyStructure.type, size: m.source.length, sha256: hash(m.source) });
    }
}

async function main() {
    const client = new ImapFlow({ host, port: Number(port), secure: false, doSTARTTLS: false, auth: { user, pass }, logger: false });
    client.on('exists', e => say('exists', { count: e.count, previous: e.prevCount }));
    client.on('expunge', e => say('expunge', { seq: e.seq, uid: e.uid }));
    client.on('flags', e => say('flags', { seq: e.seq, flags: [...e.flags].sort() }));
    client.on('error', e => say('error', { message: e.message }));
    await client.connect();
    await client.mailboxOpen('INBOX');
    say('open', { exists: client.mailbox.exists, mailboxes: (await client.list()).map(b => ({ path: b.path, use: b.specialUse || '' })) });

    const steps = {
        idle: () => { client.idle(); },
        fetch: () => fetchAll(client),
        store: async () => { await client.messageFlagsAdd('1', ['\\Flagged']); },
        move: async () => { await client.mailboxCreate('Moved'); await client.messageMove('1', 'Moved'); },
        append: async () => { const { uid } = await client.append('INBOX', 'Subject: from imapflow\r\n\r\ntext\r\n', ['\\Seen']); say('appended', { uid }); },
        search: async () => { say('found', { uids: await client.search({ subject: 'message 2' }, { uid: true }) }); },
        quit: async () => { await client.logout(); process.exit(0); }
    };
    for await (const line of readline.createInterface({ input: process.stdin })) {
        await steps[line.trim()]();
        say('done', { step: line.trim() });
    }
}

main().catch(e => { say('error', { message: e.message, response: e.responseText || '' }); process.exit(1); });
