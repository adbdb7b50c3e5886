//! Who a container runs as, by what its pod and its image say.

use podwright::backend::native::user::{Accounts, Identity, Wish, resolve};

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
                      nginx:x:101:102:nginx user,,,:/var/lib/nginx:/sbin/nologin\n\
                      1000:x:2000:2001:a name of digits:/home/digits:/bin/sh\n\
                      app:x:1000:1000::/home/app:/bin/sh\n";
const GROUP: &str = "root:x:0:\nnginx:x:102:\nadm:x:4:root,nginx\nwww:x:33:nginx\napp:x:1000:\n";

fn accounts() -> Accounts<'static> {
    Accounts { passwd: PASSWD.as_bytes(), group: GROUP.as_bytes() }
}

fn identity(uid: u32, gid: u32, groups: &[u32], home: Option<&str>) -> Identity {
    Identity { uid, gid, groups: groups.to_vec(), home: home.map(str::to_owned) }
}

#[test]
fn the_image_s_user_is_looked_up_in_its_own_files() {
    let rows = [
        ("", identity(0, 0, &[0, 4], Some("/root"))),
        ("root", identity(0, 0, &[0, 4], Some("/root"))),
        ("0", identity(0, 0, &[0, 4], Some("/root"))),
        ("nginx", identity(101, 102, &[4, 33, 102], Some("/var/lib/nginx"))),
        ("101", identity(101, 102, &[4, 33, 102], Some("/var/lib/nginx"))),
        ("nginx:www", identity(101, 33, &[4, 33], Some("/var/lib/nginx"))),
        ("nginx:7", identity(101, 7, &[4, 7, 33], Some("/var/lib/nginx"))),
        ("nginx:", identity(101, 102, &[4, 33, 102], Some("/var/lib/nginx"))),
        ("4711", identity(4711, 0, &[0], None)),
        ("4711:4712", identity(4711, 4712, &[4712], None)),
        // As with docker, a name comes before the same digits as a number.
        ("1000", identity(2000, 2001, &[2001], Some("/home/digits"))),
    ];
    for (user, expected) in rows {
        assert_eq!(resolve(&Wish::default(), user, &accounts()), Ok(expected), "{user}");
    }
    let missing = |user: &str| resolve(&Wish::default(), user, &accounts()).unwrap_err();
    assert_eq!(missing("ghost"), "unable to find user ghost: no matching entries in passwd file");
    assert_eq!(missing("nginx:ghosts"), "unable to find group ghosts: no matching entries in group file");
    assert!(missing("-1").contains("unable to find user"));
    assert!(missing("99999999999").contains("unable to find user"));
}

#[test]
fn the_pod_s_numbers_come_first() {
    let wish = |user: Option<i64>, group: Option<i64>, supplemental: &[i64]| Wish {
        user,
        group,
        supplemental: supplemental.to_vec(),
        ..Wish::default()
    };
    let rows = [
        (wish(Some(101), None, &[]), identity(101, 102, &[4, 33, 102], Some("/var/lib/nginx"))),
        (wish(Some(5), None, &[]), identity(5, 0, &[0], None)),
        (wish(Some(5), Some(6), &[9, 7, 9]), identity(5, 6, &[6, 7, 9], None)),
        (Wish { volumes: Some(8), ..wish(Some(5), Some(6), &[9]) }, identity(5, 6, &[6, 8, 9], None)),
        (wish(None, Some(6), &[]), identity(101, 6, &[4, 6, 33], Some("/var/lib/nginx"))),
        // Strictly those of the pod, and the first one.
        (Wish { strict: true, ..wish(None, None, &[9]) }, identity(101, 102, &[9, 102], Some("/var/lib/nginx"))),
        (Wish { strict: true, ..wish(Some(101), Some(6), &[]) }, identity(101, 6, &[6], Some("/var/lib/nginx"))),
        (wish(None, None, &[2_147_483_647]), identity(101, 102, &[4, 33, 102, 2_147_483_647], Some("/var/lib/nginx"))),
    ];
    for (wish, expected) in rows {
        assert_eq!(resolve(&wish, "nginx", &accounts()), Ok(expected), "{wish:?}");
    }
    for bad in [wish(Some(-1), None, &[]), wish(None, Some(1 << 31), &[]), wish(None, None, &[-5])] {
        assert!(resolve(&bad, "", &accounts()).unwrap_err().contains("out of range"), "{bad:?}");
    }
}

#[test]
fn run_as_non_root_is_checked_in_the_kubelet_s_words() {
    let check = |user: Option<i64>, image: &str| {
        resolve(&Wish { user, non_root: true, ..Wish::default() }, image, &accounts()).map(|i| i.uid)
    };
    assert_eq!(check(None, "").unwrap_err(), "container has runAsNonRoot and image will run as root");
    assert_eq!(check(None, "0:33").unwrap_err(), "container has runAsNonRoot and image will run as root");
    assert_eq!(
        check(None, "nginx").unwrap_err(),
        "container has runAsNonRoot and image has non-numeric user (nginx), cannot verify user is non-root"
    );
    assert_eq!(check(Some(0), "101").unwrap_err(), "container's runAsUser breaks non-root policy");
    assert_eq!(check(None, "101"), Ok(101));
    assert_eq!(check(Some(7), "root"), Ok(7));
    // An image in which a name of digits means root does not slip through.
    let evil = Accounts { passwd: b"1234:x:0:0::/:/bin/sh\n", group: b"" };
    let wish = Wish { non_root: true, ..Wish::default() };
    assert!(resolve(&wish, "1234", &evil).is_err());
}

#[test]
fn hostile_account_files_are_read_without_harm() {
    let long = [b"x:x:5:5::".to_vec(), b"/".repeat(1 << 20), b"\n".to_vec()].concat();
    let files: [&[u8]; 12] = [
        b"",
        b"\n\n\n",
        b":::::::",
        b"nginx",
        b"nginx:x:-1:0::/:",
        b"nginx:x:4294967296:0::/:",
        b"nginx:x:0x65:1::/:",
        b"nginx:x: 101:1::/:",
        b"\xff\xfe:x:1:1::/:\0\0",
        b"#nginx:x:101:102::/:",
        b"nginx:x:101",
        &long,
    ];
    for file in files {
        let accounts = Accounts { passwd: file, group: file };
        assert!(resolve(&Wish::default(), "nginx", &accounts).is_err(), "{:?}", file.get(..40));
        assert_eq!(resolve(&Wish::default(), "101", &accounts), Ok(identity(101, 0, &[0], None)));
    }
    // The first entry counts, a bad one before it does not; carriage returns and odd homes are tolerated.
    let passwd = b"nginx:x:bad:0::/:\r\nnginx:x:7:8::relative:/bin/sh\r\nnginx:x:0:0::/root:\n";
    let accounts = Accounts { passwd, group: b"a:x:9:nginx\r\nb:x:x:nginx\nc:x:10" };
    assert_eq!(resolve(&Wish::default(), "nginx", &accounts), Ok(identity(7, 8, &[8, 9], None)));
}
