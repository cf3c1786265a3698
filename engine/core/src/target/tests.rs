use proptest::prelude::*;

use super::*;

fn v4(first: &str, last: &str) -> Hosts {
    let bits = |text: &str| text.parse::<Ipv4Addr>().unwrap().to_bits();
    Hosts::V4(Interval {
        first: bits(first),
        last: bits(last),
    })
}

fn v6(first: &str, last: &str) -> Hosts {
    let bits = |text: &str| text.parse::<Ipv6Addr>().unwrap().to_bits();
    Hosts::V6(Interval {
        first: bits(first),
        last: bits(last),
    })
}

fn hosts(text: &str) -> Hosts {
    text.parse::<Target>().unwrap().hosts
}

fn vlans(text: &str) -> Vec<u16> {
    let set = text.parse::<Target>().unwrap().vlans.unwrap();
    set.iter().map(|v| v.map_or(0, VlanId::id)).collect()
}

fn sentence(text: &str) -> String {
    text.parse::<Target>().unwrap_err().to_string()
}

#[test]
fn every_form_of_the_syntax() {
    assert_eq!(hosts("10.0.0.1"), v4("10.0.0.1", "10.0.0.1"));
    assert_eq!(hosts("10.0.0.0/24"), v4("10.0.0.0", "10.0.0.255"));
    assert_eq!(hosts("10.0.0.77/24"), v4("10.0.0.0", "10.0.0.255"));
    assert_eq!(hosts("0.0.0.0/0"), v4("0.0.0.0", "255.255.255.255"));
    assert_eq!(hosts("10.0.0.1/32"), v4("10.0.0.1", "10.0.0.1"));
    assert_eq!(hosts("10.0.0.5-10.0.1.20"), v4("10.0.0.5", "10.0.1.20"));
    assert_eq!(hosts("10.0.0.5-20"), v4("10.0.0.5", "10.0.0.20"));
    assert_eq!(
        hosts("10.0-255.0-255.0-255"),
        v4("10.0.0.0", "10.255.255.255")
    );
    assert_eq!(hosts("10.1-3.0-255.0-255"), v4("10.1.0.0", "10.3.255.255"));
    assert_eq!(
        hosts("10.0.0-3.1-254"),
        Hosts::Octets([(10, 10), (0, 0), (0, 3), (1, 254)])
    );
    assert_eq!(hosts("2001:db8::/120"), v6("2001:db8::", "2001:db8::ff"));
    assert_eq!(
        hosts("::/0"),
        v6("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")
    );
    assert_eq!(
        hosts("2001:db8::1-2001:db8::ff"),
        v6("2001:db8::1", "2001:db8::ff")
    );
    assert_eq!(hosts("2001:db8::1"), v6("2001:db8::1", "2001:db8::1"));
    assert_eq!(
        hosts("Web-1.example.org"),
        Hosts::Name("web-1.example.org".to_owned())
    );
    assert_eq!(hosts("localhost"), Hosts::Name("localhost".to_owned()));
    assert_eq!(hosts("@100"), Hosts::All);
}

#[test]
fn vlans_follow_the_at_sign() {
    assert_eq!(vlans("10.1.0.0/16@100"), [100]);
    assert_eq!(vlans("10.1.0.0/16@100,200-203"), [100, 200, 201, 202, 203]);
    assert_eq!(vlans("10.1.0.0/16@lan,7"), [0, 7]);
    assert_eq!(vlans("@1-4094").len(), 4094);
    assert_eq!("10.0.0.1".parse::<Target>().unwrap().vlans, None);
}

#[test]
fn octet_ranges_expand_in_order() {
    let Hosts::Octets(octets) = hosts("10.0-1.0-3.1-254") else {
        panic!("one interval")
    };
    let intervals: Vec<_> = octet_intervals(octets).collect();
    assert_eq!(intervals.len(), 8);
    assert!(intervals.is_sorted());
    assert_eq!(Hosts::V4(intervals[5]), v4("10.1.1.1", "10.1.1.254"));
}

#[test]
fn a_refusal_names_the_text_and_the_way_out() {
    assert_eq!(
        sentence("10.0.0.0/33"),
        "`10.0.0.0/33` is no target: a prefix is at most 32; write 10.0.0.0/24"
    );
    assert_eq!(
        sentence("10.0.0.1@4095"),
        "`10.0.0.1@4095` is no target: 4095 is no VLAN; the identifiers are 1 to 4094"
    );
    assert_eq!(
        sentence("10.0.0.9-10.0.0.1"),
        "`10.0.0.9-10.0.0.1` is no target: the range ends before it begins; write 10.0.0.1-10.0.0.9"
    );
    let fault = |text: &str| text.parse::<Target>().unwrap_err().fault;
    assert_eq!(fault(""), TargetFault::Empty);
    assert_eq!(fault("10.0.0.1@"), TargetFault::VlansEmpty);
    assert_eq!(fault("10.0.0.1@0"), TargetFault::VlanId(InvalidVlanId(0)));
    assert_eq!(
        fault("10.0.0.1@9999999999"),
        TargetFault::VlanId(InvalidVlanId(u32::MAX))
    );
    assert_eq!(
        fault("10.0.0.1@1-4095"),
        TargetFault::VlanId(InvalidVlanId(4095))
    );
    assert_eq!(fault("10.0.0.1@red"), TargetFault::Vlan("red".to_owned()));
    assert_eq!(fault("10.0.0.1@1,,2"), TargetFault::Vlan(String::new()));
    assert_eq!(fault("10.0.0.1@9-3"), reversed("9", "3"));
    assert_eq!(
        fault("10.0.0.256"),
        TargetFault::V4("10.0.0.256".to_owned())
    );
    assert_eq!(fault("10.0.0"), TargetFault::V4("10.0.0".to_owned()));
    assert_eq!(
        fault("10.0.0-300.1"),
        TargetFault::V4("10.0.0-300.1".to_owned())
    );
    assert_eq!(fault("10.0.9-3.1"), reversed("9", "3"));
    assert_eq!(fault("10.0.0.0/x"), TargetFault::Prefix("x".to_owned()));
    assert_eq!(fault("10.0.0.0/"), TargetFault::Prefix(String::new()));
    assert_eq!(
        fault("2001:db8::/129").to_string(),
        "a prefix is at most 128; write 2001:db8::/120"
    );
    assert_eq!(fault("2001:zz::"), TargetFault::V6("2001:zz::".to_owned()));
    assert_eq!(fault("fe80::1%eth0"), TargetFault::Zone("eth0".to_owned()));
    assert_eq!(
        fault("0-255.0-255.0-255.1-254"),
        TargetFault::TooManyRanges(1 << 24)
    );
    assert_eq!(
        fault("bad_host!"),
        TargetFault::Name("bad_host!".to_owned())
    );
    assert_eq!(
        fault("host.example.org/24"),
        TargetFault::Name("host.example.org/24".to_owned())
    );
}

#[test]
fn the_first_wrong_text_of_many_is_named() {
    let mut texts: Vec<String> = (0..100_000_u32)
        .map(|i| Ipv4Addr::from_bits(0x0a00_0000 + i).to_string())
        .collect();
    assert_eq!(parse_all(&texts).unwrap().len(), texts.len());
    texts[90_000] = "later".to_owned() + "!";
    texts[39_999] = "10.0.0.0/33".to_owned();
    let error = parse_all(&texts).unwrap_err();
    assert_eq!(
        (error.index, error.error.text.as_str()),
        (39_999, "10.0.0.0/33")
    );
}

#[test]
fn lists_split_between_targets_and_not_between_vlans() {
    assert_eq!(
        split_list("10.0.0.0/24@100,200-210, 10.9.9.9 ,@5,lan,web.example.org,,2001:db8::1"),
        [
            "10.0.0.0/24@100,200-210",
            "10.9.9.9",
            "@5,lan",
            "web.example.org",
            "2001:db8::1"
        ]
    );
    assert_eq!(split_list(" "), Vec::<&str>::new());
}

#[test]
fn names_of_targets_and_exclusions_are_listed_once() {
    let request = ScanRequest {
        targets: vec![
            "b.example.org".into(),
            "10.0.0.1".into(),
            "a.example.org@7".into(),
        ],
        exclude: vec!["B.example.org".into()],
        ..ScanRequest::default()
    };
    assert_eq!(names(&request).unwrap(), ["a.example.org", "b.example.org"]);
}

proptest! {
    #[test]
    fn no_text_panics(text in "[-0-9a-f.:/@%, lan]{0,40}") {
        if let Err(error) = text.parse::<Target>() {
            let start = format!("`{text}` is no target: ");
            prop_assert!(error.to_string().starts_with(&start));
        }
        let _ = split_list(&text);
    }

    #[test]
    fn octet_ranges_agree_with_the_definition(bounds: [(u8, u8); 4]) {
        // Two octets written as ranges at most, so that the expansion stays small.
        let mut octets = bounds.map(|(a, b)| (a.min(b), a.max(b)));
        octets[0].1 = octets[0].0;
        octets[1].1 = octets[1].0.saturating_add(3).min(octets[1].1);
        let intervals: Vec<_> = octet_intervals(octets).collect();
        prop_assert_eq!(intervals.len() as u64, octet_count(octets));
        let hosts: u64 = octets.iter().map(|(a, b)| u64::from(b - a) + 1).product();
        prop_assert_eq!(intervals.iter().map(|i| i.count() as u64).sum::<u64>(), hosts);
        for interval in intervals {
            for bits in [interval.first, interval.last] {
                let inside = bits.to_be_bytes().iter().zip(octets).all(|(o, (a, b))| (a..=b).contains(o));
                prop_assert!(inside);
            }
        }
    }
}
