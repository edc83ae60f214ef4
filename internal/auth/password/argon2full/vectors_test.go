package argon2full_test

import "mallard/internal/auth/password/argon2full"

// version10 are keys of the password "secret" and the salt "saltsalt", made by testdata/make-version10.sh.
var version10 = []struct {
	kind           argon2full.Type
	passes, memory uint32
	lanes          uint8
	want           string
}{
	{argon2full.D, 1, 8, 1, "3098c67f2a9da37ce6cf21d650eb216e9735eea8c184dc8d20f2dc2c2bebf8e4"},
	{argon2full.D, 2, 64, 1, "a1e0ea5b12bbb307a5f13998d9806a1f543981189a764f839387eba043b54399"},
	{argon2full.D, 3, 100, 3, "796d0b4c9f71ee44a27bcb587aad87c3aa7f39d99c25947d"},
	{argon2full.D, 4, 515, 2, "15fe3cd7c5fd76bbe62a853219f9e165a8692bff62a90186b14eb35f62c3ccad6950a9d47765f631be209c393dfa90dd89dbb66dd152e7f1f50ec4dd10fbd66f679f56d0d9e05520ef6863808e7e1a5d650814f1e14711c57898568897083e2cc9db0fd7"},
	{argon2full.D, 2, 1100, 4, "7c7ae45b9b2b59d9028cd18a3a688a13442f5efc2152cffdcd2909125328d0dba48f5b61764e30cbb5be3a63f95db66b01043feb8046dfc44ff2efaca107e2f4"},
	{argon2full.I, 1, 8, 1, "53bd86ec72d1232568577372141332dc877cd1052472ecd1112c696b0b224ca2"},
	{argon2full.I, 2, 64, 1, "278b05e8b3406ab6c67af487cb48146396e9bb70afa358a960831fca4bc87811"},
	{argon2full.I, 3, 100, 3, "dbccb5cac0ef1f6e93501c689aaa328d54feac3bf2bbdb62"},
	{argon2full.I, 4, 515, 2, "27eb69a8d014464b29e6354e6aca176b1d8c4ea2a813a22da035c3c51cea4e1db5fd1424c7c7486dc2bf021f80e7c4b07513d083ff2c5c781679020b2147190ed74adc978f37a18d2d6ad10a34f4cfaefeab82d61488af6ec57e7117f37f31cc33d21a89"},
	{argon2full.I, 2, 1100, 4, "253231a53688a4369f11333297f2a75a29116d7476d6bc6ea0a9f17d881717e1c37b2c53369108b758af809d46584f5d775868df9d7d2cacc375898a9b3b1c72"},
	{argon2full.ID, 1, 8, 1, "21c9f6969f9b776ad86d7acf4a37d58e52167552e57ca0e7ad5efff65afab240"},
	{argon2full.ID, 2, 64, 1, "278669e824e62649e8cf5d0bb24b84aeeb5b09b3575b4186f00969ba0efe5b1b"},
	{argon2full.ID, 3, 100, 3, "c18ff632d061bd4fd4a3dda50db8bbe74df17b903574b3a8"},
	{argon2full.ID, 4, 515, 2, "98216483fcb69bfde839efd347faf0868f683a94a08c4d280b9925ae8e93fd9facf61ede88bfd265d49bcfce62eeba4ab7397126e774b471d966731339f6bcf4741c49c839d7e8cf0b0277f0bcaa6b80dd641ddb785d95bb02892d1831c54a78ec39ea0e"},
	{argon2full.ID, 2, 1100, 4, "54cdae40ee4e517e692956508944ac6869df89acd54ebbb3de067c8651c39761c62bd22ce6cdb6e84fc50c98a257f872f80ef0b899a143e22fb31fafa47e12f0"},
}
