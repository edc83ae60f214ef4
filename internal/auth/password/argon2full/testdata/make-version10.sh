#!/bin/bash
# Makes vectors_test.go (on standard output): keys of Argon2 1.0, by the command argon2 of the Argon2 authors.
cat <<'GO'
package argon2full_test

import "mallard/internal/auth/password/argon2full"

// version10 are keys of the password "secret" and the salt "saltsalt", made by testdata/make-version10.sh.
var version10 = []struct {
	kind           argon2full.Type
	passes, memory uint32
	lanes          uint8
	want           string
}{
GO
for kind in D I ID; do
	for costs in 1:8:1:32 2:64:1:32 3:100:3:24 4:515:2:100 2:1100:4:64; do
		IFS=: read -r passes memory lanes size <<<"$costs"
		key=$(printf secret | argon2 saltsalt "-${kind,,}" -v 10 -t "$passes" -k "$memory" -p "$lanes" -l "$size" -r)
		printf '\t{argon2full.%s, %d, %d, %d, "%s"},\n' "$kind" "$passes" "$memory" "$lanes" "$key"
	done
done
echo '}'
