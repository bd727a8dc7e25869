//! Tokens that the gateway writes are valid in Django.

use std::time::Duration;

use tokengate::clock::{Clock, Timestamp};
use tokengate::config::settings::{DjangoMode, Tokens};
use tokengate::store::{LedgerError, NamedToken, OnConflict, TokenRef};
use tokengate::token::{ScopeSet, SubjectId, TokenFormat, TokenKey};

use super::for_each_database;
use super::project::Project;

for_each_database! {
    a_token_issued_here_is_valid_in_django
    a_prefixed_key_is_valid_in_django
    simultaneous_first_logins_get_one_token
    tokens_are_reset_imported_and_deleted_as_in_django
    keys_up_to_the_column_width_work_and_no_longer_one_is_written
}

async fn keys_up_to_the_column_width_work_and_no_longer_one_is_written(project: Project) {
    let user = late(&project).await;
    let (store, _) = project.open().await;
    let long = || TokenKey::parse(&"-._~+/aZ9".repeat(30)[..255]).unwrap();
    let first = store.ledger.issue_login(user).await.unwrap();
    for conflict in [OnConflict::Refuse, OnConflict::Replace] {
        let refused = store.ledger.import(user, long(), conflict).await;
        assert!(matches!(refused, Err(LedgerError::KeyTooLong { most: 40 })), "{refused:?}");
    }
    assert!(store.tokens.find(&long()).await.unwrap().is_none());
    assert!(store.tokens.find(&first.key).await.unwrap().is_some(), "nothing was replaced");
    // Nor does a longer key match by its first forty characters.
    let longer = TokenKey::parse(&format!("{}x", first.key.expose())).unwrap();
    assert!(store.tokens.find(&longer).await.unwrap().is_none());

    let widen = "
with connection.cursor() as c:
    if connection.vendor == 'postgresql':
        c.execute('ALTER TABLE authtoken_token ALTER COLUMN key TYPE varchar(255)')
    elif connection.vendor == 'mysql':
        c.execute('ALTER TABLE authtoken_token MODIFY `key` varchar(255) NOT NULL')
    else:
        c.execute('PRAGMA writable_schema = ON')
        c.execute(\"UPDATE sqlite_master SET sql = replace(sql, 'varchar(40)', 'varchar(255)') WHERE name = 'authtoken_token'\")
        c.execute('PRAGMA schema_version = 4711')";
    project.python(widen).await;
    let (store, _) = project.open().await;
    assert!(store.ledger.import(user, long(), OnConflict::Replace).await.unwrap().fresh);
    let found = store.tokens.find(&long()).await.unwrap().unwrap();
    assert_eq!(found.owner.id, user);
    assert!(store.tokens.find(&first.key).await.unwrap().is_none());
    let cut = TokenKey::parse(&long().expose()[..254]).unwrap();
    assert!(store.tokens.find(&cut).await.unwrap().is_none());
}

/// The response of a view of the project to a key.
async fn whoami(project: &Project, key: &str) -> String {
    project
        .python(&format!(
            "print(Client().get('/whoami/', headers={{'authorization': 'Token {key}'}}).content.decode())"
        ))
        .await
}

async fn late(project: &Project) -> SubjectId {
    SubjectId(project.python("print(User.objects.create_user('late').pk)").await.parse().unwrap())
}

async fn a_token_issued_here_is_valid_in_django(project: Project) {
    let user = late(&project).await;
    let (store, hand) = project.open().await;
    // In SQLite, whole seconds have no decimals; all other times have six.
    for micros in [1_795_499_584_000_000, 1_795_499_585_000_120] {
        hand.set(Timestamp::from_micros(micros));
        let issued = store.ledger.reset_login(user).await.unwrap();
        let key = issued.key.expose();
        assert!(issued.fresh && key.len() == 40 && key.bytes().all(|byte| b"0123456789abcdef".contains(&byte)));
        assert_eq!(whoami(&project, key).await, format!("{{\"user\":\"late\",\"id\":{user}}}"));
        let code = "t, made = Token.objects.get_or_create(user__username='late'); \
                    print(t.key, made, t.created.isoformat())";
        let second = if micros % 1_000_000 == 0 { "04" } else { "05.000120" };
        assert_eq!(project.python(code).await, format!("{key} False 2026-11-24T05:53:{second}+00:00"));
        let record = store.tokens.find(&issued.key).await.unwrap().unwrap();
        assert_eq!((record.created.as_micros(), record.id), (micros, issued.id));
    }
    if project.address.contains("sqlite") {
        // The same bytes that Django writes.
        let code = "
cursor = connection.cursor()
cursor.execute('SELECT typeof(created), length(created), typeof(key), typeof(user_id) FROM authtoken_token')
ours = cursor.fetchall(); Token.objects.all().delete(); Token.objects.create(user=User.objects.get())
cursor.execute('SELECT typeof(created), length(created), typeof(key), typeof(user_id) FROM authtoken_token')
assert ours == cursor.fetchall(), ours";
        project.python(code).await;
    }
}

async fn a_prefixed_key_is_valid_in_django(project: Project) {
    let user = late(&project).await;
    let tokens = Tokens { format: TokenFormat::Prefixed, ..Tokens::default() };
    let settings = project.settings(DjangoMode::ReadWrite);
    let store = tokengate::store::open(&settings, &tokens, Clock::system()).await.unwrap();
    let issued = store.ledger.issue_login(user).await.unwrap();
    assert_eq!(TokenFormat::of(issued.key.expose()), Some(TokenFormat::Prefixed));
    assert_eq!(whoami(&project, issued.key.expose()).await, format!("{{\"user\":\"late\",\"id\":{user}}}"));
    assert_eq!(store.tokens.find(&issued.key).await.unwrap().unwrap().id, issued.id);
}

async fn simultaneous_first_logins_get_one_token(project: Project) {
    let users = project.python("for n in range(10): print(User.objects.create_user(f'late{n}').pk)").await;
    let (store, _) = project.open().await;
    for user in users.lines().map(|id| SubjectId(id.parse().unwrap())) {
        let together = std::sync::Arc::new(tokio::sync::Barrier::new(8));
        let asking: Vec<_> = (0..8)
            .map(|_| {
                let (ledger, together) = (std::sync::Arc::clone(&store.ledger), std::sync::Arc::clone(&together));
                tokio::spawn(async move {
                    together.wait().await;
                    ledger.issue_login(user).await.unwrap()
                })
            })
            .collect();
        let (mut keys, mut fresh) = (std::collections::BTreeSet::new(), 0);
        for asking in asking {
            let issued = asking.await.unwrap();
            keys.insert(issued.key.expose().to_owned());
            fresh += usize::from(issued.fresh);
        }
        assert_eq!((keys.len(), fresh), (1, 1));
    }
    let missing = store.ledger.issue_login(SubjectId(4711)).await;
    assert!(matches!(missing, Err(LedgerError::UnknownUser(SubjectId(4711)))), "{missing:?}");
}

async fn tokens_are_reset_imported_and_deleted_as_in_django(project: Project) {
    let user = late(&project).await;
    let taken = project.python("print(User.objects.create_user('alice').auth_token.key)").await;
    let (store, hand) = project.open().await;
    let first = store.ledger.issue_login(user).await.unwrap();
    hand.advance(Duration::from_secs(1));
    let second = store.ledger.reset_login(user).await.unwrap();
    assert_eq!(whoami(&project, first.key.expose()).await, "{\"detail\":\"Invalid token.\"}");
    assert!(store.tokens.find(&first.key).await.unwrap().is_none());

    let (mine, taken) = (|| TokenKey::parse("mein-Schlüssel").unwrap(), TokenKey::parse(&taken).unwrap());
    let import = async |key, conflict| store.ledger.import(user, key, conflict).await;
    assert!(matches!(import(mine(), OnConflict::Refuse).await, Err(LedgerError::LoginExists(_))));
    assert!(matches!(import(taken, OnConflict::Replace).await, Err(LedgerError::KeyTaken)));
    assert!(import(mine(), OnConflict::Replace).await.unwrap().fresh);
    assert!(!import(mine(), OnConflict::Refuse).await.unwrap().fresh);
    assert!(store.tokens.find(&second.key).await.unwrap().is_none());
    assert_eq!(project.python("print(Token.objects.get(user__username='late').key)").await, "mein-Schlüssel");

    let met = store.ledger.revoke(TokenRef::Digest(mine().digest())).await.unwrap();
    assert_eq!((met.id, met.was_live), (second.id, true));
    let again = store.ledger.revoke(TokenRef::Id(met.id)).await;
    assert!(matches!(again, Err(LedgerError::UnknownToken)), "{again:?}");
    assert_eq!(store.ledger.revoke_all(user).await.unwrap(), 0);
    store.ledger.issue_login(user).await.unwrap();
    assert_eq!(store.ledger.revoke_all(user).await.unwrap(), 1);
    assert_eq!(project.python("print(Token.objects.filter(user__username='late').exists())").await, "False");
    let named =
        NamedToken { name: "ci".to_owned(), expires: None, scopes: ScopeSet::default(), ..NamedToken::default() };
    let named = store.ledger.issue_named(user, &named).await;
    assert!(matches!(named, Err(LedgerError::OnlyLogin)), "{named:?}");
}
