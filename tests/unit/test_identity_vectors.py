"""Vectors: the keys of peer-ids.md, and signatures that go-libp2p made.

Sources: libp2p/specs revision 7740c07, peer-ids/peer-ids.md, "Test vectors" and "Decoding";
go-libp2p, core/crypto/test_data.
"""

from __future__ import annotations

import pytest

from carrick.errors import InvalidSignature
from carrick.identity import KeyType, PeerId, PrivateKey, PublicKey

ECDSA_PRIVATE = (
    "08031279307702010104203e5b1fe9712e6c314942a750bd67485de3c1efe85b1bfb520ae8f9ae3dfa4a4ca00a"
    "06082a8648ce3d030107a14403420004de3d300fa36ae0e8f5d530899d83abab44abf3161f162a4bc901d8e6ec"
    "da020e8b6d5f8da30525e71d6851510c098e5c47c646a597fb4dcec034e9f77c409e62"
)
ECDSA_PUBLIC = (
    "0803125b3059301306072a8648ce3d020106082a8648ce3d03010703420004de3d300fa36ae0e8f5d530899d83"
    "abab44abf3161f162a4bc901d8e6ecda020e8b6d5f8da30525e71d6851510c098e5c47c646a597fb4dcec034e9"
    "f77c409e62"
)
ED25519_PRIVATE = (
    "080112407e0830617c4a7de83925dfb2694556b12936c477a0e1feb2e148ec9da60fee7d1ed1e8fae2c4a144b8"
    "be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e"
)
ED25519_PUBLIC = "080112201ed1e8fae2c4a144b8be8fd4b47bf3d3b34b871c3cacf6010f0e42d474fce27e"
SECP256K1_PRIVATE = "0802122053dadf1d5a164d6b4acdb15e24aa4c5b1d3461bdbd42abedb0a4404d56ced8fb"
SECP256K1_PUBLIC = "08021221037777e994e452c21604f91de093ce415f5432f701dd8cd1a7a6fea0e630bfca99"
RSA_PRIVATE = (
    "080012ae123082092a0201000282020100e1beab071d08200bde24eef00d049449b07770ff9910257b2d7d5dda"
    "242ce8f0e2f12e1af4b32d9efd2c090f66b0f29986dbb645dae9880089704a94e5066d594162ae6ee8892e6ec7"
    "0701db0a6c445c04778eb3de1293aa1a23c3825b85c6620a2bc3f82f9b0c309bc0ab3aeb1873282bebd3da03c3"
    "3e76c21e9beb172fd44c9e43be32e2c99827033cf8d0f0c606f4579326c930eb4e854395ad941256542c793902"
    "185153c474bed109d6ff5141ebf9cd256cf58893a37f83729f97e7cb435ec679d2e33901d27bb35aa0d7e20561"
    "da08885ef0abbf8e2fb48d6a5487047a9ecb1ad41fa7ed84f6e3e8ecd5d98b3982d2a901b4454991766da295ab"
    "78822add5612a2df83bcee814cf50973e80d7ef38111b1bd87da2ae92438a2c8cbcc70b31ee319939a3b9c761d"
    "bc13b5c086d6b64bf7ae7dacc14622375d92a8ff9af7eb962162bbddebf90acb32adb5e4e4029f1c96019949ec"
    "fbfeffd7ac1e3fbcc6b6168c34be3d5a2e5999fcbb39bba7adbca78eab09b9bc39f7fa4b93411f4cc175e70c0a"
    "083e96bfaefb04a9580b4753c1738a6a760ae1afd851a1a4bdad231cf56e9284d832483df215a46c1c21bdf0c6"
    "cfe951c18f1ee4078c79c13d63edb6e14feaeffabc90ad317e4875fe648101b0864097e998f0ca3025ef9638cd"
    "2b0caecd3770ab54a1d9c6ca959b0f5dcbc90caeefc4135baca6fd475224269bbe1b02030100010282020100a4"
    "72ffa858efd8588ce59ee264b957452f3673acdf5631d7bfd5ba0ef59779c231b0bc838a8b14cae367b6d9ef57"
    "2c03c7883b0a3c652f5c24c316b1ccfd979f13d0cd7da20c7d34d9ec32dfdc81ee7292167e706d705efde5b8f3"
    "edfcba41409e642f8897357df5d320d21c43b33600a7ae4e505db957c1afbc189d73f0b5d972d9aaaeeb232ca2"
    "0eebd5de6fe7f29d01470354413cc9a0af1154b7af7c1029adcd67c74b4798afeb69e09f2cb387305e73a1b5f4"
    "50202d54f0ef096fe1bde340219a1194d1ac9026e90b366cce0c59b239d10e4888f52ca1780824d39ae01a6b9f"
    "4dd6059191a7f12b2a3d8db3c2868cd4e5a5862b8b625a4197d52c6ac77710116ebd3ced81c4d91ad5fdfbed68"
    "312ebce7eea45c1833ca3acf7da2052820eacf5c6b07d086dabeb893391c71417fd8a4b1829ae2cf60d1749d0e"
    "25da19530d889461c21da3492a8dc6ccac7de83ac1c2185262c7473c8cc42f547cc9864b02a8073b6aa54a037d"
    "8c0de3914784e6205e83d97918b944f11b877b12084c0dd1d36592f8a4f8b8da5bb404c3d2c079b22b6ceabfbc"
    "b637c0dbe0201f0909d533f8bf308ada47aee641a012a494d31b54c974e58b87f140258258bb82f31692659db7"
    "aa07e17a5b2a0832c24e122d3a8babcc9ee74cbb07d3058bb85b15f6f6b2674aba9fd34367be9782d444335fbe"
    "d31e3c4086c652597c27104938b47fa10282010100e9fdf843c1550070ca711cb8ff28411466198f0e212511c3"
    "186623890c0071bf6561219682fe7dbdfd81176eba7c4faba21614a20721e0fcd63768e6d925688ecc90992059"
    "ac89256e0524de90bf3d8a052ce6a9f6adafa712f3107a016e20c80255c9e37d8206d1bc327e06e66eb24288da"
    "866b55904fd8b59e6b2ab31bc5eab47e597093c63fab7872102d57b4c589c66077f534a61f5f65127459a33c91"
    "f6db61fc431b1ae90be92b4149a3255291baf94304e3efb77b1107b5a3bda911359c40a53c347ff9100baf8f36"
    "dc5cd991066b5bdc28b39ed644f404afe9213f4d31c9d4e40f3a5f5e3c39bebeb244e84137544e1a1839c1c8aa"
    "ebf0c78a7fad590282010100f6fa1f1e6b803742d5490b7441152f500970f46feb0b73a6e4baba2aaf3c0e245e"
    "d852fc31d86a8e46eb48e90fac409989dfee45238f97e8f1f8e83a136488c1b04b8a7fb695f37b8616307ff8a8"
    "d63e8cfa0b4fb9b9167ffaebabf111aa5a4344afbabd002ae8961c38c02da76a9149abdde93eb389eb32595c29"
    "ba30d8283a7885218a5a9d33f7f01dbdf85f3aad016c071395491338ec318d39220e1c7bd69d3d6b520a13a30d"
    "745c102b827ad9984b0dd6aed73916ffa82a06c1c111e7047dcd2668f988a0570a71474992eecf416e068f029e"
    "c323d5d635fd24694fc9bf96973c255d26c772a95bf8b7f876547a5beabf86f06cd21b67994f944e7a54930282"
    "01010095b02fd30069e547426a8bea58e8a2816f33688dac6c6f6974415af8402244a22133baedf34ce499d703"
    "6f3f19b38eb00897c18949b0c5a25953c71aeeccfc8f6594173157cc854bd98f16dffe8f28ca13b77eb43a2730"
    "585c49fc3f608cd811bb54b03b84bddaa8ef910988567f783012266199667a546a18fd88271fbf63a45ae4fd48"
    "84706da8befb9117c0a4d73de5172f8640b1091ed8a4aea3ed4641463f5ff6a5e3401ad7d0c92811f87956d1fd"
    "5f9a1d15c7f3839a08698d9f35f9d966e5000f7cb2655d7b6c4adcd8a9d950ea5f61bb7c9a33c17508f9baa313"
    "eecfee4ae493249ebe05a5d7770bbd3551b2eeb752e3649e0636de08e3d672e66cb90282010100ad93e4c31072"
    "b063fc5ab5fe22afacece775c795d0efdf7c704cfc027bde0d626a7646fc905bb5a80117e3ca49059af14e0160"
    "089f9190065be9bfecf12c3b2145b211c8e89e42dd91c38e9aa23ca73697063564f6f6aa6590088a738722df05"
    "6004d18d7bccac62b3bafef6172fc2a4b071ea37f31eff7a076bcab7dd144e51a9da8754219352aef2c7347897"
    "1539fa41de4759285ea626fa3c72e7085be47d554d915bbb5149cb6ef835351f231043049cd941506a034bf2f8"
    "767f3e1e42ead92f91cb3d75549b57ef7d56ac39c2d80d67f6a2b4ca192974bfc5060e2dd171217971002193db"
    "a12e7e4133ab201f07500a90495a38610279b13a48d54f0c99028201003e3a1ac0c2b67d54ed5c4bbe04a7db99"
    "103659d33a4f9d35809e1f60c282e5988dddc964527f3b05e6cc890eab3dcb571d66debf3a5527704c87264b39"
    "54d7265f4e8d2c637dd89b491b9cf23f264801f804b90454d65af0c4c830d1aef76f597ef61b26ca857ecce9cb"
    "78d4f6c2218c00d2975d46c2b013fbf59b750c3b92d8d3ed9e6d1fd0ef1ec091a5c286a3fe2dead292f40f3800"
    "65731e2079ebb9f2a7ef2c415ecbb488da98f3a12609ca1b6ec8c734032c8bd513292ff842c375d4acd1b02dfb"
    "206b24cd815f8e2f9d4af8e7dea0370b19c1b23cc531d78b40e06e1119ee2e08f6f31c6e2e8444c568d13c5d45"
    "1a291ae0c9f1d4f27d23b3a00d60ad"
)
RSA_PUBLIC = (
    "080012a60430820222300d06092a864886f70d01010105000382020f003082020a0282020100e1beab071d0820"
    "0bde24eef00d049449b07770ff9910257b2d7d5dda242ce8f0e2f12e1af4b32d9efd2c090f66b0f29986dbb645"
    "dae9880089704a94e5066d594162ae6ee8892e6ec70701db0a6c445c04778eb3de1293aa1a23c3825b85c6620a"
    "2bc3f82f9b0c309bc0ab3aeb1873282bebd3da03c33e76c21e9beb172fd44c9e43be32e2c99827033cf8d0f0c6"
    "06f4579326c930eb4e854395ad941256542c793902185153c474bed109d6ff5141ebf9cd256cf58893a37f8372"
    "9f97e7cb435ec679d2e33901d27bb35aa0d7e20561da08885ef0abbf8e2fb48d6a5487047a9ecb1ad41fa7ed84"
    "f6e3e8ecd5d98b3982d2a901b4454991766da295ab78822add5612a2df83bcee814cf50973e80d7ef38111b1bd"
    "87da2ae92438a2c8cbcc70b31ee319939a3b9c761dbc13b5c086d6b64bf7ae7dacc14622375d92a8ff9af7eb96"
    "2162bbddebf90acb32adb5e4e4029f1c96019949ecfbfeffd7ac1e3fbcc6b6168c34be3d5a2e5999fcbb39bba7"
    "adbca78eab09b9bc39f7fa4b93411f4cc175e70c0a083e96bfaefb04a9580b4753c1738a6a760ae1afd851a1a4"
    "bdad231cf56e9284d832483df215a46c1c21bdf0c6cfe951c18f1ee4078c79c13d63edb6e14feaeffabc90ad31"
    "7e4875fe648101b0864097e998f0ca3025ef9638cd2b0caecd3770ab54a1d9c6ca959b0f5dcbc90caeefc4135b"
    "aca6fd475224269bbe1b0203010001"
)
SPEC_KEYS = {
    KeyType.ECDSA: (ECDSA_PRIVATE, ECDSA_PUBLIC),
    KeyType.ED25519: (ED25519_PRIVATE, ED25519_PUBLIC),
    KeyType.SECP256K1: (SECP256K1_PRIVATE, SECP256K1_PUBLIC),
    KeyType.RSA: (RSA_PRIVATE, RSA_PUBLIC),
}

GO_MESSAGE = b"Libp2p is the _best_!"
GO_RSA_PRIVATE = (
    "080012a909308204a50201000282010100f2b75b418c28ed7aabfe17e90dfb93c13f2ec6381d072f862fb75808"
    "b96d227eef2083d31f4a78069f85ad6a8c73896ea385a386430d1cc09a90a230f00911515c5538c4b62d897fc6"
    "65df1150456aec75cdb2310c88f2079c82f56a79375c79e4f840f0eb15213f1972d6a248d684453ce5d3e3ec09"
    "1f38c2f95c3ab5a1dfb603a9f955ebd9a75814ec5b725bb8882b047dbbae000ad88a5236596ad800c4ccfae3c7"
    "4d69f8c665741d47972213dd4fdc83d39bab7ccce49f65e2dee7c76cd79c3500aafe7207ad41d843d89ac11e66"
    "53b872dfb2c5d790ec4eb6d954aa6e14a55463659edf0a2513c0aad9b8349f259a9b605b3d71dec43b69ee6be8"
    "51a75302030100010282010053048422175ea85b9d187bf52ae331d69755d856b9170c1a4997dc749f77c4a4c6"
    "05c9111d52cb5af895308b911eb393343b31836acbc159df8438f5a42475d7ee4cf7edd0a222b5a1969685c57e"
    "f8e38827a31b43be538a66ee242316f2e89e88c2a0f3c674a3ba8169d6200be9d3b41af0415964127aab5f850b"
    "16c9a9646aa2acb9cd73edb0849bee028647b576e12e84bb89c58c875c23c5256097223f9b318c3521161fc466"
    "e65889d2f154adca4cfdedd3be489fbb6f2edcfd81ac4cc3fe8d09dbf1158f0d899eeb748dfe6397133d5512c2"
    "383057f9b8b269649b0f6ebbc26d077fddb7e8e533e127b8c1cb5a80aebdded38a3f09ff065292707a76810281"
    "8100f5de8fb67cbb3f5986c8aa6a9bda6abdc6cca91d09fcee82b4a4bc15b5318098db422bb496c6f468cbe2d7"
    "276599768319a1192c5e587ad117023c2fcd8f7de63b6981f019a78252a07e171dcc3a44355791f8bf46848054"
    "6d18acffc3c319ab7b1dcbb37f285c08a78cdfcb2fa19ad3d1622ace31e26e79e6ad8699d85dc0ff02818100fc"
    "b7891e45b1ffa19683d2c923de218db4657dd807862f005cafa8f6287115d1fc76973e1065f5b9a80d4dc51ffa"
    "2333e0f10a4467adc0f1ec67e5c4219929697ba4d7fb16a8883e069f8d88ff47f9ec626d47b16cadab1b202f81"
    "25800abb8a1c5012ec44330734c21ee3c66d0e7e3d8c73e18644a66ec7b41d990e828ec5ad02818100e4c5f60a"
    "e2fc87f1918c5da55ce75ab2c2abe41f750fb80e3e6f99e2c8fa0aa23041ddd0e70ab098623debdc6898e6c10d"
    "b3ec6c704cfbda5a026666446ae3c6ba396e022e9cc292876b4baf1a3c8d02e53c99abc0bdc17acd184cc09f32"
    "864c1cfe986fa83db1850c01f4aa66e383e0dbceefed7455305e94d99988c4de579902818100bb5a2db35da40a"
    "89f7161f8cb2a499677e97c766029dfdf65cc07598987ecdd8713c51ffd7145fc995c6d7230f03d8593ba8371e"
    "6366b32627471756023a9432f9514a3581a4cbec7fe8857b4d16453873f7e430ab0b4d50bcd9bafadc2418c8d9"
    "189c0ec0b8bbdce715137425a19b017240eeaf25f1e52af46304f776def5b902818100acd676cb9f55858e5b61"
    "75a6321b513e3dd32ec4df3482143c9f51ea03b7cf0e72791daf27bf0168502164fb629aec8ac2a4fb9ed2bb43"
    "27469fdfc93ee398d38a0288e6831d0d88045f094b1e4f0574bb04fff76d0808c9e5eecdd7692f34a646e50df1"
    "6a6899fb3e06a0cc7e6bb8cb90f7c8e25266b72e3e1cc433c6b28af9"
)
GO_RSA_SIGNATURE = (
    "6e111325f710ad394633cfd37e467e18c5137fb63d182c9b8ea34386727c833160dc010dee126ee2baf33515ff"
    "598730fbc3d3816ec5dbc626f8b17208432620f7915fbe1b6e5ace206d3fb98c3f93dab0e8c19f0c1592ed2c8a"
    "354bccd3c0d6de54747dc5e4fc234b87f7f4e0a63c7b6512ca3ca6a5a588e8639ee1820f2150fdb4bb00215e50"
    "b3227f4d1d21be8ea1e8c80eb3192749ad8cd5dc9bd2b3184015a06b8d6ffb6e0726aaa4aa7d3e7102c69a07f7"
    "340332bad47fdcfee22ba25c28233344436aba3e92c0276dcce8f2e56c44b66857591ce815d87db6e87b2b74b9"
    "4812a95e85b6eeab706434d8b0687fa717594cd6a5a82024a15d1a0aedebfe"
)
GO_SECP256K1_PRIVATE = "080212203141bd606a504c44f23494d8f3174ef25b1fb9b52daa07d058be83b6e046b158"
GO_SECP256K1_SIGNATURE = (
    "3044022031a7d633c2f3e45a16128d43751afaa8dc9ba24092c5f5b3cad2c8fe4cf388f2022049ea8d219f4586"
    "83d24775d543ea8fb290704347fb35493c403bc2c259b29d9e"
)
GO_ECDSA_PRIVATE = (
    "08031279307702010104201fc05449e3a3423bb8b59447a43c3e23ad4095ac4f9fbb75457acef34b68949fa00a"
    "06082a8648ce3d030107a14403420004e29a8674f3614e0ccb72406bfe2137e9f8c5f7d62d137f0a2edd233e35"
    "374777fd1f9aed4d2cfa7371caafc6ef02db83b81f77cfe1bcd8c715acf0b9a2778ea9"
)
GO_ECDSA_SIGNATURE = (
    "3046022100846a6685b9e72b560cb2fc4a75f9cbc38a90aaeaa7f3f25ee719832db7b93a65022100cd992bb7bd"
    "2bcc28c7db04987d10adc490fe348270954f7696cb0dffff0dfc3d"
)
GO_SIGNED = {
    KeyType.RSA: (GO_RSA_PRIVATE, GO_RSA_SIGNATURE),
    KeyType.SECP256K1: (GO_SECP256K1_PRIVATE, GO_SECP256K1_SIGNATURE),
    KeyType.ECDSA: (GO_ECDSA_PRIVATE, GO_ECDSA_SIGNATURE),
}


@pytest.mark.parametrize("type", SPEC_KEYS, ids=lambda type: type.name)
def test_public_key_of_private_key(type: KeyType) -> None:
    private, public = (bytes.fromhex(text) for text in SPEC_KEYS[type])
    key = PrivateKey.from_protobuf(private)
    assert key.type is type
    assert key.public_key.to_protobuf() == public
    assert PublicKey.from_protobuf(public) == key.public_key


@pytest.mark.parametrize("type", SPEC_KEYS, ids=lambda type: type.name)
def test_private_key_encodes_to_the_same_bytes(type: KeyType) -> None:
    private = bytes.fromhex(SPEC_KEYS[type][0])
    assert PrivateKey.from_protobuf(private).to_protobuf() == private


@pytest.mark.parametrize("type", SPEC_KEYS, ids=lambda type: type.name)
def test_spec_key_signs_and_verifies(type: KeyType) -> None:
    private, public = (bytes.fromhex(text) for text in SPEC_KEYS[type])
    signature = PrivateKey.from_protobuf(private).sign(b"data")
    PublicKey.from_protobuf(public).verify(b"data", signature)
    with pytest.raises(InvalidSignature):
        PublicKey.from_protobuf(public).verify(b"date", signature)


@pytest.mark.parametrize("type", GO_SIGNED, ids=lambda type: type.name)
def test_signature_made_by_go(type: KeyType) -> None:
    private, signature = (bytes.fromhex(text) for text in GO_SIGNED[type])
    PrivateKey.from_protobuf(private).public_key.verify(GO_MESSAGE, signature)


@pytest.mark.parametrize("type", [KeyType.RSA, KeyType.SECP256K1], ids=lambda type: type.name)
def test_deterministic_signature_is_the_same_as_by_go(type: KeyType) -> None:
    private, signature = (bytes.fromhex(text) for text in GO_SIGNED[type])
    assert PrivateKey.from_protobuf(private).sign(GO_MESSAGE) == signature


def test_ed25519_signature_of_rfc_8032() -> None:
    """RFC 8032 section 7.1, test 2."""
    seed = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"
    public = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    key = PrivateKey.from_protobuf(bytes.fromhex("08011240" + seed + public))
    assert key.sign(b"\x72").hex() == (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )


def test_peer_id_as_cid_and_as_base58() -> None:
    peer_id = PeerId.parse("bafzbeie5745rpv2m6tjyuugywy4d5ewrqgqqhfnf445he3omzpjbx5xqxe")
    assert str(peer_id) == "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"
    assert peer_id.to_cid() == "bafzbeie5745rpv2m6tjyuugywy4d5ewrqgqqhfnf445he3omzpjbx5xqxe"
    assert PeerId.parse(str(peer_id)) == peer_id
    assert peer_id.public_key() is None


def test_peer_id_with_inlined_key() -> None:
    peer_id = PeerId.parse("12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA")
    key = peer_id.public_key()
    assert key is not None
    assert key.type is KeyType.ED25519
    assert key.peer_id == peer_id
