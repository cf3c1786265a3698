//! Users, tokens and what they allow.

use reqwest::Method;
use sonde_cloud::api::{LoggedIn, Login, Me, NewPassword, NewToken, NewUser, TokenMade};
use sonde_cloud::client::{Client, ClientError};
use sonde_cloud::storage::{ApiToken, Scope, User};

use crate::house::House;

async fn log_in(house: &House, user: &str, password: &str) -> Result<Client, ClientError> {
    let login = Login {
        user: user.into(),
        password: password.into(),
    };
    let client = house.client();
    let token: LoggedIn = client.send(Method::POST, "/api/v1/login", &login).await?;
    Ok(client.with_token(token.token))
}

fn status<T>(answer: Result<T, ClientError>) -> u16 {
    match answer {
        Err(ClientError::Refused { status, .. }) => status,
        Err(other) => panic!("not a refusal: {other:?}"),
        Ok(_) => panic!("not a refusal"),
    }
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_guessing_is_slow() {
    let house = House::new().await;
    let Err(wrong) = log_in(&house, "admin", "wrong password").await else {
        panic!("let in")
    };
    let Err(unknown) = log_in(&house, "nobody", "wrong password").await else {
        panic!("let in")
    };
    assert_eq!(
        wrong.to_string(),
        unknown.to_string(),
        "whether a name exists is not told"
    );
    assert!(wrong.is_logged_out());
    let mut last = 401;
    for _ in 0..10 {
        last = status(log_in(&house, "admin", "wrong password").await.map(|_| ()));
    }
    assert_eq!(last, 429);
    house.pass(std::time::Duration::from_secs(300)).await;
    log_in(&house, "admin", &house.first.password)
        .await
        .unwrap();
}

#[tokio::test]
async fn scopes_bound_what_a_token_does() {
    let house = House::new().await;
    for (name, scope) in [("rita", Scope::Read), ("sam", Scope::Scan)] {
        let new = NewUser {
            name: name.into(),
            password: "long enough".into(),
            scope,
        };
        let user: User = house
            .admin
            .send(Method::POST, "/api/v1/users", &new)
            .await
            .unwrap();
        assert_eq!((user.name.as_str(), user.scope), (name, scope));
    }
    let twice = NewUser {
        name: "sam".into(),
        password: "long enough".into(),
        scope: Scope::Read,
    };
    assert_eq!(
        status(
            house
                .admin
                .send::<User>(Method::POST, "/api/v1/users", &twice)
                .await
        ),
        409
    );
    let rita = log_in(&house, "rita", "long enough").await.unwrap();
    let sam = log_in(&house, "sam", "long enough").await.unwrap();
    assert_eq!(
        rita.get::<Me>("/api/v1/me").await.unwrap().token.scope,
        Scope::Read
    );
    let scan = serde_json::json!({"request": {"targets": ["10.0.0.1"]}});
    assert_eq!(
        status(rita.send::<()>(Method::POST, "/api/v1/scans", &scan).await),
        403
    );
    // Sam may, but there is no appliance yet.
    assert_eq!(
        status(sam.send::<()>(Method::POST, "/api/v1/scans", &scan).await),
        409
    );
    assert_eq!(status(sam.get::<Vec<User>>("/api/v1/users").await), 403);
    let more = NewToken {
        name: "bot".into(),
        scope: Scope::Admin,
        valid_days: 1,
    };
    assert_eq!(
        status(
            sam.send::<TokenMade>(Method::POST, "/api/v1/tokens", &more)
                .await
        ),
        403
    );
    let same = NewToken {
        scope: Scope::Scan,
        ..more
    };
    let made: TokenMade = sam
        .send(Method::POST, "/api/v1/tokens", &same)
        .await
        .unwrap();
    let bot = house.client().with_token(made.token);
    assert_eq!(
        bot.get::<Vec<ApiToken>>("/api/v1/tokens")
            .await
            .unwrap()
            .len(),
        2
    );
    house.pass(std::time::Duration::from_secs(24 * 3600)).await;
    assert_eq!(
        status(bot.get::<Me>("/api/v1/me").await),
        401,
        "a day is over"
    );
}

#[tokio::test]
async fn a_new_password_ends_the_tokens_of_the_old_one() {
    let house = House::new().await;
    let new = NewUser {
        name: "sam".into(),
        password: "long enough".into(),
        scope: Scope::Admin,
    };
    let _: User = house
        .admin
        .send(Method::POST, "/api/v1/users", &new)
        .await
        .unwrap();
    let sam = log_in(&house, "sam", "long enough").await.unwrap();
    let password = NewPassword {
        password: "longer still".into(),
    };
    let path = "/api/v1/users/sam/password";
    house
        .admin
        .act(Method::PUT, path, Some(&password))
        .await
        .unwrap();
    assert_eq!(status(sam.get::<Me>("/api/v1/me").await), 401);
    assert_eq!(
        status(log_in(&house, "sam", "long enough").await.map(|_| ())),
        401
    );
    let sam = log_in(&house, "sam", "longer still").await.unwrap();
    sam.act(Method::POST, "/api/v1/logout", None::<&()>)
        .await
        .unwrap();
    assert_eq!(status(sam.get::<Me>("/api/v1/me").await), 401);
    house
        .admin
        .act(Method::DELETE, "/api/v1/users/sam", None::<&()>)
        .await
        .unwrap();
    let last = house
        .admin
        .act(Method::DELETE, "/api/v1/users/admin", None::<&()>)
        .await;
    assert_eq!(
        status(last),
        409,
        "somebody has to be able to manage the cloud"
    );
    house.admin.get::<Me>("/api/v1/me").await.unwrap();
}
