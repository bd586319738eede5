use super::*;
use tokio::task::JoinHandle;

const A: AccountId = AccountId(1);
const B: AccountId = AccountId(2);

type Waits = JoinHandle<Result<Seat, Overloaded>>;

/// Lets a call wait and returns once it does.
async fn waits(room: &Arc<WaitingRoom>, account: AccountId, urgency: Urgency) -> Waits {
    let inside = Arc::clone(room);
    let waits = tokio::spawn(async move { inside.enter(account, urgency).await });
    for _ in 0..4 {
        tokio::task::yield_now().await;
    }
    waits
}

async fn seated(waits: Waits) -> Seat {
    waits.await.unwrap().unwrap()
}

#[tokio::test]
async fn a_seat_is_taken_at_once_while_there_is_one() {
    let room = WaitingRoom::new(2);
    let first = room.enter(A, Urgency::Low).await.unwrap();
    let second = room.enter(A, Urgency::Low).await.unwrap();
    let third = waits(&room, A, Urgency::Critical).await;
    assert_eq!(room.waiting(), 1);
    drop(first);
    let third = seated(third).await;
    drop((second, third));
    assert_eq!(room.state.lock().taken, 0);
}

#[tokio::test]
async fn the_urgent_go_first_and_accounts_take_turns() {
    let room = WaitingRoom::new(1);
    let seat = room.enter(A, Urgency::Normal).await.unwrap();
    let low = waits(&room, A, Urgency::Low).await;
    let first_of_a = waits(&room, A, Urgency::Normal).await;
    let second_of_a = waits(&room, A, Urgency::Normal).await;
    let first_of_b = waits(&room, B, Urgency::Normal).await;
    let critical = waits(&room, B, Urgency::Critical).await;
    drop(seat);
    let mut seat = seated(critical).await;
    for next in [first_of_a, first_of_b, second_of_a, low] {
        assert!(!next.is_finished());
        drop(seat);
        seat = seated(next).await;
    }
    assert_eq!(room.waiting(), 0);
}

#[tokio::test]
async fn who_goes_away_gives_up_place_and_seat() {
    let room = WaitingRoom::new(1);
    let seat = room.enter(A, Urgency::Normal).await.unwrap();
    let gone = waits(&room, A, Urgency::Normal).await;
    let stays = waits(&room, A, Urgency::Normal).await;
    gone.abort();
    let _ = gone.await;
    drop(seat);
    drop(seated(stays).await);
    assert_eq!((room.waiting(), room.state.lock().taken), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_ten_seconds() {
    let room = WaitingRoom::new(1);
    let seat = room.enter(A, Urgency::Normal).await.unwrap();
    assert_eq!(room.enter(B, Urgency::Critical).await.unwrap_err(), Overloaded);
    drop(seat);
    assert_eq!(room.state.lock().taken, 0);
    let _seat = room.enter(B, Urgency::Low).await.unwrap();
}

#[tokio::test]
async fn a_full_room_makes_place_for_the_urgent_and_for_who_has_less_waiting() {
    let room = WaitingRoom::new(1);
    let _seat = room.enter(A, Urgency::Normal).await.unwrap();
    let mut of_a = Vec::new();
    for _ in 0..WaitingRoom::WAITING_MIN {
        of_a.push(waits(&room, A, Urgency::Normal).await);
    }
    assert_eq!(room.enter(A, Urgency::Normal).await.unwrap_err(), Overloaded);
    assert_eq!(room.enter(B, Urgency::Low).await.unwrap_err(), Overloaded);
    let of_b = waits(&room, B, Urgency::Normal).await;
    let urgent = waits(&room, A, Urgency::High).await;
    assert_eq!(room.waiting(), WaitingRoom::WAITING_MIN);
    for last in of_a.drain(WaitingRoom::WAITING_MIN - 2..) {
        assert_eq!(last.await.unwrap().unwrap_err(), Overloaded);
    }
    assert!(!of_b.is_finished() && !urgent.is_finished());
}

#[tokio::test]
async fn never_more_than_the_seats_are_taken_by_many_at_once() {
    let room = WaitingRoom::new(3);
    let tasks: Vec<_> = (0..60_u64)
        .map(|nth| {
            let room = Arc::clone(&room);
            tokio::spawn(async move {
                let seat = room.enter(AccountId(nth % 7), Urgency::Normal).await.unwrap();
                assert!(room.state.lock().taken <= 3);
                tokio::task::yield_now().await;
                drop(seat);
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!((room.waiting(), room.state.lock().taken), (0, 0));
}
