#!/bin/sh
# Makes vectors.json (on standard output) with tools that share no code with this package: openssl, htpasswd
# (apache2-utils), perl's crypt (the C library's), mkpasswd (whois), argon2, python3 hashlib, node crypto and hash-wasm,
# the npm package with which WildDuck checks Argon2 (NODE_PATH says where it is, test/rig/install.sh brings it).
exec python3 - <<'PY'
import base64, hashlib, json, os, subprocess

PASSWORDS = ["secret", "p", "ünï¢ödé пароль 密码", "with space $ and \\ and 'quotes'", "eight888", "nine99999",
             "x" * 64, "long " + "0123456789" * 12]
rows = []

def add(tool, password, hash):
    rows.append({"tool": tool, "password": password, "hash": hash.strip()})

def run(*args, **kw):
    return subprocess.run(args, check=True, capture_output=True, text=True, **kw).stdout.strip()

def b64(b):
    return base64.b64encode(b).decode().rstrip("=")

def perl_crypt(password, salt):
    return run("perl", "-e", 'binmode STDIN; $p = <STDIN>; print crypt($p, $ARGV[0])', salt, input=password)

NODE = 'const c=require("crypto");const [p,s,i,n,d]=process.argv.slice(1);' \
       'console.log(c.pbkdf2Sync(p,Buffer.from(s,"base64"),+i,+n,d).toString("base64").replace(/=+$/,""))'

HASHWASM = 'const h=require("hash-wasm");const [p,call]=process.argv.slice(1);h[call]({password:p,salt:crypto.getRandomValues(' \
           'Buffer.alloc(16)),iterations:3,memorySize:515,parallelism:2,hashLength:24,outputType:"encoded"}).then(console.log)'

for p in PASSWORDS:
    for flag in "-1", "-5", "-6":
        add("openssl passwd " + flag, p, run("openssl", "passwd", flag, "-stdin", input=p + "\n"))
    add("openssl passwd -5 rounds=10", p, run("openssl", "passwd", "-5", "-salt", "rounds=10$tooFew", "-stdin", input=p + "\n"))
    for salt in "ab", "./", "zZ", "9x", "$1$s$", "$1$saltsalt$", "$5$rounds=1000$roundsalt$", "$6$rounds=1234$saltstringsaltst$", \
                "$6$shrt$", "$2a$04$CCCCCCCCCCCCCCCCCCCCC.", "$2b$05$abcdefghijklmnopqrstuu", "$2y$04$zzzzzzzzzzzzzzzzzzzzzu":
        hash = perl_crypt(p, salt)
        assert len(hash) >= 13, (salt, hash)
        add("perl crypt", p, hash)
    if len(p.encode()) <= 72:
        add("htpasswd -B", p, run("htpasswd", "-nbBC", "5", "u", p).split(":", 1)[1])
    add("htpasswd -d", p, run("htpasswd", "-nbd", "u", p).split(":", 1)[1])
    add("mkpasswd bcrypt", p, run("mkpasswd", "-m", "bcrypt", "-R", "5", "-s", input=p + "\n"))
    add("mkpasswd sha512crypt", p, run("mkpasswd", "-m", "sha512crypt", "-R", "1500", "-s", input=p + "\n"))
    for kind in "-i", "-id", "-d":
        for version in "13", "10":
            add("argon2 " + kind, p, run("argon2", "saltsalt" + str(len(p)), kind, "-v", version, "-t", "2", "-m", "10", "-p", "3", "-l", "32", "-e", input=p))
    for call in "argon2d", "argon2i", "argon2id":
        add("hash-wasm " + call, p, run("node", "-e", HASHWASM, p, call))
    for digest, n, i in ("sha1", 20, 1000), ("sha256", 32, 100000), ("sha256", 32, 999), ("sha512", 64, 100000), ("sha512", 32, 120000):
        salt = os.urandom(16)
        add("python hashlib", p, f"$pbkdf2-{digest}$i={i}${b64(salt)}${b64(hashlib.pbkdf2_hmac(digest, p.encode(), salt, i, n))}")
        salt = os.urandom(13)
        add("node crypto", p, f"$pbkdf2-{digest}$i={i}${b64(salt)}$" + run("node", "-e", NODE, p, b64(salt), str(i), str(n), digest))

print("[\n" + ",\n".join(json.dumps(r, ensure_ascii=False) for r in rows) + "\n]")
PY
